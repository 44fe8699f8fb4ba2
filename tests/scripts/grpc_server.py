"""A server of `grpcio` with generic handlers (messages are bytes, so that no protoc is needed); prints a line of JSON for each call once it has ended.

    grpc_server.py ADDRESS PORT
"""

import concurrent.futures
import hashlib
import json
import sys
import threading

import grpc


def has_deadline(context):
    """Without one, grpcio says that some thousand years are left."""
    return context.time_remaining() < 1_000_000


def caller(context):
    return context.peer().rsplit(":", 1)[0]


def note(context, name, messages, peer=None, **more):
    metadata = sorted((key, value.hex() if isinstance(value, bytes) else value) for key, value in context.invocation_metadata())
    digest = hashlib.sha256()
    for message in messages:
        digest.update(b"%d:%s" % (len(message), message))
    line = {"call": name, "peer": peer or caller(context), "metadata": metadata, "messages": len(messages), "digest": digest.hexdigest()[:16], **more}
    # In one piece: calls end on many threads.
    sys.stdout.write(json.dumps(line) + "\n")


def unary(request, context):
    note(context, "Unary", [request], deadline=has_deadline(context))
    context.send_initial_metadata((("x-initial", "1"), ("x-raw-bin", b"\x00\xff")))
    context.set_trailing_metadata((("x-trailing", "2"), ("x-trailing-bin", b"\x01\xfe")))
    return request


def count(request, context):
    note(context, "Count", [request])
    for number in range(int(request)):
        yield b"%d" % number


def sum_up(requests, context):
    messages = list(requests)
    note(context, "Sum", messages)
    return b"%d" % sum(map(int, messages))


def chat(requests, context):
    messages = []
    for message in requests:
        messages.append(message)
        yield message[::-1]
    note(context, "Chat", messages)


def fail(request, context):
    note(context, "Fail", [request])
    context.set_trailing_metadata((("x-why", "asked to"),))
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not today: \u00e9 100% \n done")


def fail_late(request, context):
    note(context, "FailLate", [request])
    yield b"first"
    yield b"second"
    context.abort(grpc.StatusCode.DATA_LOSS, "after two messages")


def wait(request, context):
    """Ends only by the caller's deadline or cancellation."""
    over = threading.Event()
    # A call that is over may have forgotten them.
    peer, deadline = caller(context), has_deadline(context)

    # Not behind the yield: of a call that is over by then nobody asks for more.
    def ended():
        note(context, "Wait", [request], peer, deadline=deadline, active=context.is_active())
        over.set()

    if not context.add_callback(ended):
        ended()
    yield b"waiting"
    over.wait()


HANDLERS = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "Count": grpc.unary_stream_rpc_method_handler(count),
    "Sum": grpc.stream_unary_rpc_method_handler(sum_up),
    "Chat": grpc.stream_stream_rpc_method_handler(chat),
    "Fail": grpc.unary_unary_rpc_method_handler(fail),
    "FailLate": grpc.unary_stream_rpc_method_handler(fail_late),
    "Wait": grpc.unary_stream_rpc_method_handler(wait),
}

server = grpc.server(concurrent.futures.ThreadPoolExecutor(max_workers=40))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("lab.Peer", HANDLERS),))
server.add_insecure_port(f"{sys.argv[1]}:{sys.argv[2]}")
server.start()
server.wait_for_termination()
