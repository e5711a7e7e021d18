"""An application with a login that answers with a token. Its secrets are credentials of its systemd unit."""

import hashlib
import hmac
import json
import os
import time
from pathlib import Path
from typing import Annotated

import jwt
from fastapi import FastAPI, Header, HTTPException
from pydantic import BaseModel

CREDENTIALS = Path(os.environ["CREDENTIALS_DIRECTORY"])
# The line break at the end of the file is not part of the secret, for the gate neither.
SECRET = (CREDENTIALS / "tokens-secret").read_bytes().removesuffix(b"\n")
USERS = json.loads((CREDENTIALS / "users").read_text())
LIFETIME = 900

# Nobody needs its description from the internet.
app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)


class Login(BaseModel):
    user: str
    password: str


@app.post("/auth/login")
def login(login: Login) -> dict:
    # Who does not exist takes as long as who does.
    salt, expected = USERS.get(login.user, "00:00").split(":")
    found = hashlib.scrypt(login.password.encode(), salt=bytes.fromhex(salt), n=2**14, r=8, p=1)
    if not hmac.compare_digest(found, bytes.fromhex(expected)):
        raise HTTPException(401, "user and password do not match")
    now = int(time.time())
    claims = {"iss": "https://api.example.com", "aud": "api", "sub": login.user, "iat": now, "exp": now + LIFETIME}
    return {"access_token": jwt.encode(claims, SECRET, "HS256"), "token_type": "Bearer", "expires_in": LIFETIME}


@app.get("/api/me")
def me(x_user: Annotated[str, Header()]) -> dict[str, str]:
    return {"user": x_user}


@app.get("/api/share")
def share(of: int) -> dict[str, float]:
    """Has a fault, to see what callers learn of one."""
    return {"share": 1 / of}
