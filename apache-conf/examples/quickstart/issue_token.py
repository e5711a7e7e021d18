"""Prints a token for the quick start, valid for one hour: issue_token.py SECRET-FILE USER

Your login service does this for real. Nothing but the standard library is used, to show what a token is.
"""

import base64
import hmac
import json
import sys
import time
from pathlib import Path


def part(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")


secret_file, user = sys.argv[1:]
# The line break at the end of the file is not part of the secret.
secret = Path(secret_file).read_bytes().removesuffix(b"\n")
claims = {
    "iss": "https://login.example.com",
    "aud": "quickstart-api",
    "sub": user,
    "exp": int(time.time()) + 3600,
}
signed = part(b'{"alg":"HS256","typ":"JWT"}') + b"." + part(json.dumps(claims).encode())
print((signed + b"." + part(hmac.digest(secret, signed, "sha256"))).decode())
