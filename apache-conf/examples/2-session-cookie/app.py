"""An application with a login of its own. It makes the session; that nobody comes without one is the gate's business.

The secret of the sessions and the users' hashed passwords are credentials of its systemd unit.
"""

import hashlib
import hmac
import html
import json
import os
import secrets
import time
from pathlib import Path
from typing import Annotated
from urllib.parse import parse_qs, urlencode

import jwt
from fastapi import FastAPI, Header, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse

CREDENTIALS = Path(os.environ["CREDENTIALS_DIRECTORY"])
# The line break at the end of the file is not part of the secret, for the gate neither.
SECRET = (CREDENTIALS / "session-secret").read_bytes().removesuffix(b"\n")
USERS = json.loads((CREDENTIALS / "users").read_text())
SESSION = 8 * 3600
LOGIN = 60

app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
User = Annotated[str, Header(alias="X-User")]
# By the code that leads from the login page to the callback: until when it may be used, the browser's state, the user.
codes: dict[str, tuple[float, str, str]] = {}


def own_page(target: str) -> str:
    """Where to go after the login: a page of this site, or its first one."""
    return target if target.startswith("/") and not target.startswith(("//", "/\\")) else "/"


def password_fits(user: str, password: str) -> bool:
    # Who does not exist takes as long as who does.
    salt, expected = USERS.get(user, "00:00").split(":")
    found = hashlib.scrypt(password.encode(), salt=bytes.fromhex(salt), n=2**14, r=8, p=1)
    return hmac.compare_digest(found, bytes.fromhex(expected))


@app.get("/auth/login")
def login_page(next: str = "/") -> HTMLResponse:
    return HTMLResponse(f"""<!doctype html><title>Login</title>
        <form method="post" action="/auth/login">
            <input name="user"><input name="password" type="password">
            <input name="next" type="hidden" value="{html.escape(own_page(next))}"><button>Log in</button>
        </form>""")


@app.post("/auth/login")
async def login(request: Request) -> RedirectResponse:
    form = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
    user = form.get("user", "")
    if not password_fits(user, form.get("password", "")):
        raise HTTPException(401, "user and password do not match")
    now = time.time()
    for code in [code for code, (until, _, _) in codes.items() if until < now]:
        del codes[code]
    code, state = secrets.token_urlsafe(), secrets.token_urlsafe()
    codes[code] = (now + LOGIN, state, user)
    query = urlencode({"code": code, "next": own_page(form.get("next", "/"))})
    response = RedirectResponse(f"/auth/callback?{query}", status_code=303)
    # So that nobody can have another's browser finish a login of his own.
    response.set_cookie("login_state", state, max_age=LOGIN, path="/auth", httponly=True, secure=True, samesite="lax")
    return response


@app.get("/auth/callback")
def callback(request: Request, code: str, next: str = "/") -> RedirectResponse:
    until, state, user = codes.pop(code, (0, "", ""))
    if until < time.time() or not hmac.compare_digest(state, request.cookies.get("login_state", "")):
        raise HTTPException(401, "this login is over")
    now = int(time.time())
    claims = {"iss": "https://app.example.com", "aud": "app", "sub": user, "iat": now, "exp": now + SESSION}
    response = RedirectResponse(own_page(next), status_code=303)
    token = jwt.encode(claims, SECRET, "HS256")
    response.set_cookie(
        "access_token", f"Bearer {token}", max_age=SESSION, httponly=True, secure=True, samesite="lax"
    )
    response.delete_cookie("login_state", path="/auth")
    return response


@app.post("/auth/logout")
def logout() -> RedirectResponse:
    response = RedirectResponse("/auth/login", status_code=303)
    response.delete_cookie("access_token", httponly=True, secure=True, samesite="lax")
    return response


@app.get("/")
def start_page(user: User) -> HTMLResponse:
    return HTMLResponse(f"<!doctype html><title>Start</title>Hello {html.escape(user)}")


@app.get("/api/me")
def me(user: User) -> dict[str, str]:
    return {"user": user}


@app.post("/api/notes")
def add_note(user: User) -> dict[str, str]:
    return {"noted": user}
