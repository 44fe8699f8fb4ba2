"""A client of Python's http.client: one connection, many requests; prints a line of JSON for each answer.

    http_client.py ADDRESS PORT HOST
"""

import hashlib
import http.client
import json
import sys

address, port, host = sys.argv[1], int(sys.argv[2]), sys.argv[3]
connection = http.client.HTTPConnection(address, port)
# What two neighbours on a connection settle between them, and the time of day.
BETWEEN = {"connection", "keep-alive", "date"}


def ask(method, target, body=None, headers=None, **options):
    connection.request(method, target, body, {"Host": host, **(headers or {})}, **options)
    answer = connection.getresponse()
    content = answer.read()
    line = {
        "request": f"{method} {target}",
        "status": [answer.version, answer.status, answer.reason],
        "headers": [field for field in answer.getheaders() if field[0].lower() not in BETWEEN],
        "bytes": len(content),
        "digest": hashlib.sha256(content).hexdigest()[:16],
    }
    # httpbin says in its answer what it was asked, so a short one shows where it differs.
    if len(content) < 2000:
        line["content"] = content.decode("latin-1")
    print(json.dumps(line), flush=True)


def chunks(count):
    for number in range(count):
        yield (b"chunk %d " % number) * 1000


ask("GET", "/get?a=1&b=%20&c=caf%C3%A9&a=2")
ask("HEAD", "/get")
ask("GET", "/headers", headers={"X-Odd": "caf\u00e9", "X-Empty": "", "Accept-Encoding": "identity"})
ask("POST", "/post", b"\x00\x01binary\xff" * 10000, {"Content-Type": "application/octet-stream"})
ask("POST", "/anything", "text as latin-1: \u00e9", {"Content-Type": "text/plain"})
# http.client sends an iterable chunked, and a body of None without framing for GET and with Content-Length: 0 for POST.
ask("PUT", "/put", chunks(20), {"Content-Type": "text/plain"}, encode_chunked=True)
ask("POST", "/post")
ask("DELETE", "/delete", b"a body on DELETE", {"Content-Type": "text/plain"})
ask("PATCH", "/anything/%2Fescaped%2f?x=%00", b"p")
for status in (204, 304, 404, 418, 500):
    ask("GET", f"/status/{status}")
ask("GET", "/bytes/70000?seed=7")
ask("GET", "/stream-bytes/70000?seed=7&chunk_size=1000")
ask("GET", "/stream/5")
ask("GET", "/deflate")
ask("GET", "/cookies/set?a=b", headers={"Cookie": "x=y; z=1"})
ask("GET", "/redirect/2")
ask("GET", "/response-headers?X-Twice=1&X-Twice=2&X-CaSe=3")
ask("OPTIONS", "/get")
