"""A FastAPI application that trusts the header X-User, since only the gate can set it."""

from typing import Annotated
from urllib.parse import parse_qs, unquote

from fastapi import FastAPI, Header, HTTPException, Request
from pydantic import BaseModel

app = FastAPI()
User = Annotated[str | None, Header(alias="X-User")]


class Note(BaseModel):
    text: str


@app.get("/health")
def health(user: User = None) -> dict[str, str | None]:
    return {"status": "up", "user": user}


@app.get("/me")
def me(user: User = None) -> dict[str, str]:
    return {"user": unquote(user)}


@app.post("/notes")
def add_note(note: Note, user: User = None) -> dict[str, str]:
    return {"user": unquote(user), "text": note.text}


@app.post("/login")
async def log_in(request: Request) -> dict[str, str]:
    form = parse_qs((await request.body()).decode())
    [user], [password] = form["user"], form["password"]
    if user == "mallory":
        raise HTTPException(403, "this account is closed")
    if password != "correct horse":
        raise HTTPException(401, "user and password do not match")
    return {"user": user}
