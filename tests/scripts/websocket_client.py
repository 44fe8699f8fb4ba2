"""A client of the `websockets` library: text, binary, fragments, pings both ways, 1 MiB, closes from both sides.

    websocket_client.py ADDRESS PORT HOST
"""

import asyncio
import hashlib
import json
import socket
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

address, port, host = sys.argv[1], int(sys.argv[2]), sys.argv[3]


def tell(step, what):
    print(json.dumps({"step": step, "is": what}), flush=True)


def digest(message):
    data = message if isinstance(message, bytes) else message.encode()
    return [type(message).__name__, len(data), hashlib.sha256(data).hexdigest()[:16]]


def open_at(path, **options):
    options.setdefault("max_size", None)
    return connect(f"ws://{host}{path}", sock=socket.create_connection((address, port)), **options)


async def talk(path, **options):
    async with open_at(path, subprotocols=["chat.v1"], **options) as connection:
        tell("agreed", [connection.response.status_code, connection.subprotocol])
        tell("extensions", [extension.name for extension in connection.protocol.extensions])
        noise = bytes(i * 7919 % 251 for i in range(1 << 20))
        for message in ("text: \u00e9\u4e16\U0001f600", b"\x00\xff", "", b"", noise, "x" * 70000):
            await connection.send(message)
            tell("echo", digest(await connection.recv()))
        # An iterable is sent as fragments of one message.
        await connection.send(["one ", "two ", "three"])
        tell("fragments", digest(await connection.recv()))
        await (await connection.ping(b"from the client"))
        tell("pong", True)
        await connection.send("please ping")
        tell("the server's ping", digest(await connection.recv()))
        # Many at once: nothing may be lost or change its place.
        await asyncio.gather(*(connection.send(str(number)) for number in range(500)))
        tell("order", [await connection.recv() for _ in range(500)] == [str(number) for number in range(500)])
        await connection.close(4001, "the client goes")
    tell("closed", [connection.close_code, connection.close_reason])


async def be_closed():
    async with open_at("/closed", subprotocols=["chat.v2"]) as connection:
        await connection.send("please close")
        try:
            await connection.recv()
        except ConnectionClosed:
            tell("closed by the server", [connection.close_code, connection.close_reason])


async def main():
    await talk("/plain?a=b", compression=None)
    await talk("/deflated")
    await be_closed()


asyncio.run(main())
