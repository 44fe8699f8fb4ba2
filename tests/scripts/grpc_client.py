"""A client of `grpcio`: every kind of call and every way to end one; prints a line of JSON for each.

    grpc_client.py ADDRESS PORT AUTHORITY PLAY
"""

import json
import queue
import sys

import grpc

address, port, authority = sys.argv[1:4]
channel = grpc.insecure_channel(f"ipv4:{address}:{port}", options=[("grpc.default_authority", authority)])
noise = bytes(i * 7919 % 251 for i in range(3 << 20))
METADATA = (("x-mine", "1"), ("x-mine", "2"), ("x-mine-bin", b"\x00\x01\xff"), ("x-percent", "100%"))


def plain(metadata):
    return sorted((key, value.hex() if isinstance(value, bytes) else value) for key, value in metadata or ())


def tell(call, what, **more):
    line = {"call": call, "code": what.code().name, "details": what.details(), **more}
    line["initial"], line["trailing"] = plain(what.initial_metadata()), plain(what.trailing_metadata())
    print(json.dumps(line), flush=True)


def method(kind, name):
    return getattr(channel, kind)(f"/lab.Peer/{name}")


def drained(call):
    """What came before the end, and the end if it is an error."""
    messages = []
    try:
        for message in call:
            messages.append(message.decode())
    except grpc.RpcError:
        pass
    return messages


def kinds():
    answer, call = method("unary_unary", "Unary").with_call(b"hello", metadata=METADATA, timeout=300)
    tell("unary", call, same=answer == b"hello")
    for size in (0, 1, 100_000, len(noise)):
        answer, call = method("unary_unary", "Unary").with_call(noise[:size])
        tell(f"unary {size}", call, same=answer == noise[:size])
    for count in (2000, 0):
        call = method("unary_stream", "Count")(b"%d" % count)
        tell(f"server streaming {count}", call, same=drained(call) == [str(number) for number in range(count)])
    for count in (1000, 0):
        answer, call = method("stream_unary", "Sum").with_call(iter([b"%d" % number for number in range(count)]))
        tell(f"client streaming {count}", call, answer=answer.decode())
    arrived, answers = queue.Queue(), []
    call = method("stream_stream", "Chat")(one_by_one(arrived))
    for message in call:
        answers.append(message)
        arrived.put(None)
    tell("bidirectional", call, same=answers == [(b"message %d" % number)[::-1] for number in range(50)])


def one_by_one(arrived):
    """Sends the next message only after the last one's answer: neither direction may wait for the other's end."""
    for number in range(50):
        if number:
            arrived.get()
        yield b"message %d" % number


def statuses():
    for name in ("Fail", "Unknown"):
        try:
            method("unary_unary", name)(b"x")
        except grpc.RpcError as error:
            tell(name, error)
    call = method("unary_stream", "FailLate")(b"x")
    tell("FailLate", call, messages=drained(call))


def giving_up():
    # The time begins once the server has been reached. Whether its first word comes before the deadline does not matter here.
    grpc.channel_ready_future(channel).result()
    call = method("unary_stream", "Wait")(b"deadline", timeout=2)
    drained(call)
    tell("deadline", call)
    call = method("unary_stream", "Wait")(b"cancel")
    first = next(call)
    call.cancel()
    print(json.dumps({"call": "cancelled", "code": call.code().name, "first": first.decode()}), flush=True)


def at_once():
    calls = [method("unary_unary", "Unary").future(noise[: 1000 * number]) for number in range(1, 31)]
    same = [call.result() == noise[: 1000 * number] for number, call in enumerate(calls, 1)]
    print(json.dumps({"call": "thirty at once", "same": same}), flush=True)


{"kinds": kinds, "statuses": statuses, "giving up": giving_up, "at once": at_once}[sys.argv[4]]()
channel.close()
