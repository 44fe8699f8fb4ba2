"""An echo server of the `websockets` library; prints a line of JSON for each conversation once it has ended.

    websocket_server.py ADDRESS PORT
"""

import asyncio
import hashlib
import json
import sys

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed


async def echo(connection):
    digest, count = hashlib.sha256(), 0
    try:
        async for message in connection:
            count += 1
            digest.update(message if isinstance(message, bytes) else message.encode())
            if message == "please close":
                await connection.close(4321, "as you wish")
            elif message == "please ping":
                await (await connection.ping(b"from the server"))
                await connection.send("you answered")
            else:
                await connection.send(message)
    except ConnectionClosed:
        # The client's own code is what is told below.
        pass
    request = connection.request
    line = {
        "path": request.path,
        "headers": sorted((name, value) for name, value in request.headers.raw_items() if name != "Sec-WebSocket-Key"),
        "from": connection.remote_address[0],
        "subprotocol": connection.subprotocol,
        "messages": count,
        "digest": digest.hexdigest()[:16],
        "closed": [connection.close_code, connection.close_reason],
    }
    print(json.dumps(line), flush=True)


async def main():
    # Messages of 1 MiB are the library's own limit unless it is told otherwise.
    async with serve(echo, sys.argv[1], int(sys.argv[2]), subprotocols=["chat.v2", "chat.v1"], max_size=None):
        await asyncio.get_running_loop().create_future()


asyncio.run(main())
