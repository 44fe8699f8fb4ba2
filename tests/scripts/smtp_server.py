"""A mail server of `aiosmtpd`: the server speaks first. Prints a line of JSON for each mail.

    smtp_server.py ADDRESS PORT
"""

import asyncio
import hashlib
import json
import sys

from aiosmtpd.smtp import SMTP


class Handler:
    async def handle_DATA(self, server, session, envelope):
        mail = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "peer": session.peer[0],
            "bytes": len(envelope.content),
            "digest": hashlib.sha256(envelope.content).hexdigest()[:16],
        }
        print(json.dumps(mail), flush=True)
        return "250 taken"


async def main():
    # Without a hostname it would ask the resolver for one, and nobody answers in the lab.
    make = lambda: SMTP(Handler(), hostname="mail.lab", enable_SMTPUTF8=True)
    server = await asyncio.get_running_loop().create_server(make, sys.argv[1], int(sys.argv[2]))
    await server.serve_forever()


asyncio.run(main())
