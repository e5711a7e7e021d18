"""A FastAPI application that trusts the header X-User, since only the gate can set it."""

from typing import Annotated
from urllib.parse import unquote

from fastapi import FastAPI, Header
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
