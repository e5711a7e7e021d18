"""A FastAPI application for people: a login page, a cookie with a token, and a WebSocket.

It makes the tokens itself, with the secret in the file that APP_SECRET names, and trusts the header X-User, since only
the gate can set it. SAME_SITE, if it is there, is that of the cookie.
"""

import html
import os
import time
from pathlib import Path
from typing import Annotated
from urllib.parse import parse_qs

import jwt
from fastapi import FastAPI, Header, Request, WebSocket
from fastapi.responses import HTMLResponse, RedirectResponse

SECRET = Path(os.environ["APP_SECRET"]).read_bytes()

app = FastAPI()
User = Annotated[str | None, Header(alias="X-User")]


@app.get("/login")
def login_page(next: str = "/") -> HTMLResponse:
    return HTMLResponse(f"""<!doctype html><title>Login</title>
        <form method="post" action="/login">
            <input name="user"><input name="next" type="hidden" value="{html.escape(next)}"><button>Go</button>
        </form>""")


@app.post("/login")
async def login(request: Request) -> RedirectResponse:
    form = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
    target = form.get("next", "/")
    if not target.startswith("/") or target.startswith(("//", "/\\")):
        target = "/"
    claims = {"iss": "https://app.example.com", "aud": "app", "sub": form["user"], "exp": int(time.time()) + 300}
    response = RedirectResponse(target, status_code=303)
    token = jwt.encode(claims, SECRET, "HS256")
    response.set_cookie(
        "access_token",
        f"Bearer {token}",
        httponly=True,
        secure=True,
        samesite=os.environ.get("SAME_SITE", "lax"),
    )
    return response


@app.get("/orders")
def orders(request: Request, user: User = None) -> HTMLResponse:
    return HTMLResponse(f"<!doctype html><title>Orders</title>{html.escape(f'{request.url.query} {user}')}")


@app.websocket("/ws")
async def talk(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text(socket.headers["X-User"])
    await socket.close()
