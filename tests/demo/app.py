"""The application behind the demo's gate. It trusts what the gate hands it, and shows what that was."""

from fastapi import FastAPI, Request

app = FastAPI(openapi_url=None)


@app.get("/{path:path}")
def echo(path: str, request: Request) -> dict:
    """Which request arrived, and with which identity."""
    headers = request.headers
    return {
        "path": f"/{path}",
        "user": headers.get("x-user"),
        "issuer": headers.get("x-issuer"),
        "scope": headers.get("x-scope"),
        "email": headers.get("x-email"),
        # Spellings that a lenient application takes for the same header.
        "lookalikes": sorted(n for n in headers if n != "x-user" and n.replace("_", "-").replace(".", "-") == "x-user"),
        "token arrived": "authorization" in headers,
    }
