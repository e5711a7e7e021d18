"""An application that leaves authentication to the gate: it reads the user from a header."""

from typing import Annotated

from fastapi import FastAPI, Header

app = FastAPI()


@app.get("/health")
def health() -> dict:
    return {"status": "ok"}


@app.get("/me")
def me(x_user: Annotated[str, Header()]) -> dict:
    return {"user": x_user}
