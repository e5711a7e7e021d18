"""An application that leaves authentication to the gate: who asks is in headers that nobody else can set."""

from typing import Annotated

from fastapi import Depends, FastAPI, Header

app = FastAPI()


def user(
    x_user: Annotated[str, Header()],
    x_scope: Annotated[str, Header()] = "",
    x_groups: Annotated[str, Header()] = "",
) -> dict:
    return {"user": x_user, "scopes": x_scope.split(), "groups": [group for group in x_groups.split(",") if group]}


User = Annotated[dict, Depends(user)]


@app.get("/health")
def health() -> dict[str, str]:
    return {"status": "ok"}


@app.get("/auth/me")
def me(user: User) -> dict:
    return user


@app.get("/masters/")
@app.get("/jobs/")
@app.get("/attachments/")
@app.get("/reports/")
def collection(user: User) -> dict:
    return {"items": [], "groups": user["groups"]}
