"""A client of the Model Context Protocol, of its own SDK, which finds its way by itself: mcp_client.py

It knows nothing but the address of the server. What a person would do in a browser at the login page (of
oidc-provider), it does in her place: alice logs in and consents. It talks as conversation.py says:

    {"do": "call", "url": "http://…/mcp", "tool": "whoami"}  gives text, the tool's answer, or else error; requests, all
    that the SDK sent for that, in order, as [method, URL without query, status]; and logins, for what resource and
    scope alice was asked to log in
"""

import asyncio
import html
import re
import sys
from urllib.parse import parse_qs, urlsplit

import httpx2
from mcp import Client
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientMetadata

from conversation import hold

# Nobody listens there: the answer is taken from the redirect.
CALLBACK = "http://127.0.0.1:1/callback"


class Memory:
    """The SDK's TokenStorage."""

    tokens = None
    client = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client):
        self.client = client


class Person:
    """Fills in whatever form the provider shows, until it leads back to the client."""

    def __init__(self) -> None:
        self.logins: list = []
        self.answer: AuthorizationCodeResult | None = None

    async def log_in(self, url: str) -> None:
        asked = query(url)
        self.logins.append({"resource": asked.get("resource"), "scope": asked.get("scope")})
        async with httpx2.AsyncClient() as browser:
            response = await browser.get(url)
            for _ in range(20):
                if response.has_redirect_location:
                    target = str(response.url.join(response.headers["Location"]))
                    if target.startswith(CALLBACK):
                        break
                    response = await browser.get(target)
                else:
                    form = re.search(r'<form[^>]* action="([^"]+)"', response.text)
                    prompt = re.search(r'name="prompt" value="(\w+)"', response.text)
                    if not form or not prompt:
                        raise RuntimeError(f"no form in {response.status_code} {response.text}")
                    filled = {"prompt": prompt[1], "login": "alice", "password": "any"}
                    response = await browser.post(html.unescape(form[1]), data=filled)
            else:
                raise RuntimeError(f"the login does not end: {response.url}")
        given = query(target)
        if "code" not in given:
            raise RuntimeError(f"the provider gives no code: {given}")
        self.answer = AuthorizationCodeResult(**{name: given.get(name) for name in ("code", "state", "iss")})

    async def come_back(self) -> AuthorizationCodeResult:
        return self.answer


def query(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


async def converse(url: str, tool: str, person: Person, requests: list) -> str:
    async def note(response: httpx2.Response) -> None:
        requests.append([response.request.method, str(response.url.copy_with(query=None)), response.status_code])

    metadata = OAuthClientMetadata(
        client_name="a client of the tests", redirect_uris=[CALLBACK], token_endpoint_auth_method="none"
    )
    auth = OAuthClientProvider(url, metadata, Memory(), person.log_in, person.come_back)
    async with httpx2.AsyncClient(auth=auth, event_hooks={"response": [note]}, timeout=20) as http:
        async with Client(streamable_http_client(url, http_client=http)) as client:
            answer = await client.call_tool(tool, {})
            return answer.content[0].text


def call(url: str, tool: str) -> dict:
    person, requests = Person(), []
    try:
        result = {"text": asyncio.run(converse(url, tool, person, requests))}
    except Exception as error:  # whatever the SDK makes of a refusal
        print(repr(error), file=sys.stderr)
        result = {"error": repr(error)}
    return {**result, "requests": requests, "logins": person.logins}


hold({}, {"call": call})
