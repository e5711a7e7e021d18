"""The application of a platform: who calls, and with which plan, is in headers that nobody but the gate can set."""

from typing import Annotated

from fastapi import Depends, FastAPI, Header, HTTPException

app = FastAPI()


def caller(
    x_user: Annotated[str, Header()],
    x_plan: Annotated[str, Header()],
    x_partner: Annotated[str | None, Header()] = None,
    x_groups: Annotated[str, Header()] = "",
) -> dict:
    return {"user": x_user, "partner": x_partner, "plan": x_plan, "groups": x_groups.split(",") if x_groups else []}


Caller = Annotated[dict, Depends(caller)]


@app.get("/orders")
def orders(caller: Caller) -> dict:
    return {"orders": [], "plan": caller["plan"]}


@app.post("/orders", status_code=201)
def order(caller: Caller) -> dict:
    return {"ordered by": caller["user"]}


@app.get("/catalogue")
@app.get("/export")
@app.get("/audit")
@app.get("/tenants/{tenant}")
def anything(caller: Caller) -> dict:
    return caller


@app.get("/trace")
def trace(traceparent: Annotated[str, Header()]) -> dict[str, str]:
    return {"traceparent": traceparent}


@app.get("/admin/users")
def users(caller: Caller) -> dict:
    if "admins" not in caller["groups"]:
        raise HTTPException(403)
    return {"users": []}
