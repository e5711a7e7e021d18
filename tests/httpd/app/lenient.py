"""An application that finds its paths in every spelling that some application or framework accepts.

Whatever it takes for `/admin` or below is `secret`, all else `public`. Usage: lenient.py PORT
"""

import asyncio
import re
import sys
from urllib.parse import unquote_to_bytes

OVERLONG = {
    b"\xc0\xae": b".",
    b"\xc0\xaf": b"/",
    b"\xc1\x9c": b"\\",
    b"\xe0\x80\xae": b".",
    b"\xf0\x80\x80\xae": b".",
    b"\xf8\x80\x80\x80\xae": b".",
    b"\xfc\x80\x80\x80\x80\xae": b".",
}
BLANKS = bytes(range(1, 33)) + b"\x7f"


def decoded(path: bytes) -> bytes:
    """Also `%u002e`, as Jetty and IIS have it."""
    return unquote_to_bytes(re.sub(rb"%[uU]00([0-9a-fA-F]{2})", rb"%\1", path))


def segments(target: bytes) -> list[bytes]:
    """The path of a request's target as this application understands it."""
    if b"://" in target.partition(b"/")[0] + b"//":
        target = b"/" + target.partition(b"://")[2].partition(b"/")[2]
    path = target.split(b"?")[0].split(b"#")[0]
    while (simpler := decoded(path)) != path:
        path = simpler
    for sequence, character in OVERLONG.items():
        path = path.replace(sequence, character)
    path = path.translate(None, BLANKS)
    found: list[bytes] = []
    for segment in path.replace(b"\\", b"/").split(b"/"):
        for end in (b";", b"?", b"#", b"\0"):
            segment = segment.partition(end)[0]
        if segment == b"..":
            found = found[:-1]
        elif segment.rstrip(b"."):
            found.append(segment.rstrip(b".").lower())
    return found


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            target = head.split(b"\r\n")[0].partition(b" ")[2].rpartition(b" ")[0]
            body = b"secret" if segments(target)[:1] == [b"admin"] else b"public"
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\n" + body)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main() -> None:
    async with await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1])) as server:
        await server.serve_forever()


asyncio.run(main())
