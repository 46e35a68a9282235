"""The floor of bench/hits_redis.py: the least ASGI application that sends what one GET of redis-py answers.

`python -m bench.redis_floor URL KEY PORT`, under uvicorn as `metaearth serve` runs it, answers every request with the value
of KEY, read anew each time by a GET of its own.
"""

from __future__ import annotations

import sys

import redis.asyncio
import uvicorn
from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, Scope


def application(url: str, key: str) -> ASGI3Application:
    """The ASGI application."""
    client = redis.asyncio.Redis.from_url(url)

    async def app(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] == "http":
            body = await client.get(key)
            assert isinstance(body, bytes)
            headers = [(b"content-length", b"%d" % len(body))]
            await send({"type": "http.response.start", "status": 200, "headers": headers, "trailers": False})
            await send({"type": "http.response.body", "body": body, "more_body": False})

    return app


if __name__ == "__main__":
    uvicorn.run(
        application(sys.argv[1], sys.argv[2]),
        host="127.0.0.1",
        port=int(sys.argv[3]),
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
    )
