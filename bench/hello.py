"""The floor of bench/hits.py: the least ASGI application, under uvicorn as `metaearth serve` runs it.

`python -m bench.hello PORT` answers `/N` with N bytes and everything else with 200 and none.
"""

from __future__ import annotations

import os
import sys
from functools import cache

import uvicorn
from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, ASGISendEvent, Scope


@cache
def answer(path: str) -> tuple[ASGISendEvent, ASGISendEvent]:
    """The two messages of a path, made once. Not of zeros, all of which are one page of memory, and cheaper to send."""
    size = int(path[1:]) if path[1:].isdecimal() else 0
    headers = [(b"content-type", b"image/jpeg"), (b"content-length", b"%d" % size)]
    return (
        {"type": "http.response.start", "status": 200, "headers": headers, "trailers": False},
        {"type": "http.response.body", "body": os.urandom(size), "more_body": False},
    )


async def hello(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    """One ASGI connection."""
    if scope["type"] == "http":
        start, body = answer(scope["path"])
        await send(start)
        await send(body)


if __name__ == "__main__":
    uvicorn.run(
        hello,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
    )
