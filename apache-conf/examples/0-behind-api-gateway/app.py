"""An application that only an API gateway reaches: it is told by which one, in a header that nobody else can set."""

from typing import Annotated

from fastapi import FastAPI, Header, Request

app = FastAPI()


@app.api_route("/pods/{proxy:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
def pods(proxy: str, request: Request, x_gateway: Annotated[str, Header()]) -> dict[str, str]:
    return {"method": request.method, "pod": proxy, "gateway": x_gateway}
