"""Prints the file of users with one user, whose password comes on standard input: hash_password.py USER"""

import hashlib
import json
import secrets
import sys

salt = secrets.token_bytes(16)
password = sys.stdin.read().removesuffix("\n").encode()
hashed = hashlib.scrypt(password, salt=salt, n=2**14, r=8, p=1)
print(json.dumps({sys.argv[1]: f"{salt.hex()}:{hashed.hex()}"}))
