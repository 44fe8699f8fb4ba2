"""A client of Python's smtplib, which says nothing before the server has greeted it.

    smtp_client.py ADDRESS PORT
"""

import json
import smtplib
import sys

smtp = smtplib.SMTP(local_hostname="client.lab")


def tell(step, answer):
    code, text = answer
    print(json.dumps([step, code, text.decode()]), flush=True)


tell("greeting", smtp.connect(sys.argv[1], int(sys.argv[2])))
tell("ehlo", smtp.ehlo())
for size in (10, 300_000):
    body = "".join(f"line {number}\r\n" for number in range(size // 10))
    refused = smtp.sendmail("a@lab", ["b@lab", "c@lab"], f"Subject: {size}\r\n\r\n{body}")
    print(json.dumps(["sent", size, refused]), flush=True)
tell("wrong", smtp.docmd("NONSENSE"))
tell("noop", smtp.noop())
tell("quit", smtp.quit())
