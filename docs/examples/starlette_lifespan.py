"""A web service with a router in its lifespan; a client leaves one of two responses early.

Run it: python starlette_lifespan.py [asyncio|trio]

Requires starlette, uvicorn and httpx. The client runs on either backend, uvicorn on asyncio only.
"""

import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from threading import Thread

import anyio
import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from actorstream import Actor, MessageRouter, Stream


class Model(Actor):
    """Stands in for a language model: it can talk until the client disconnects."""

    async def stream_async(self, payload: str) -> AsyncIterator[str]:
        try:
            for word in f"You asked: {payload}".split():
                yield f"{word}\n"
            while payload == "Forever?":
                await anyio.sleep(0.001)
                yield "and so on\n"
        finally:
            print("[the model stops]")


class StreamResponse(Response):
    """Sends a stream in the scoped form: when the client disconnects, the producer stops."""

    media_type = "text/plain"

    def __init__(self, stream: Stream[str]) -> None:
        super().__init__()
        self.stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self.stream:
            response = StreamingResponse(self.stream.payloads(), media_type=self.media_type)
            await response(scope, receive, send)


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[dict[str, MessageRouter]]:
    async with MessageRouter() as router:
        router.register_actor("model", Model())
        yield {"router": router}
    print("the router is closed")


async def complete(request: Request) -> StreamResponse:
    prompt = request.query_params["prompt"]
    # A client that keeps the connection open without reading is dropped after ten seconds.
    return StreamResponse(
        request.state.router.stream_async("model", "complete", prompt, stall_timeout=10)
    )


async def count_streams(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(request.state.router.statistics().active_streams))


app = Starlette(
    routes=[Route("/complete", complete), Route("/streams", count_streams)], lifespan=lifespan
)


@contextmanager
def serving() -> Iterator[str]:
    """Run the application in a thread on a free local port, and yield its URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, lifespan="on", log_level="error", ws="none"))
    thread = Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


async def main(url: str) -> None:
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        response = await client.get("/complete", params={"prompt": "Why?"})
        print(response.status_code, response.text.split())

        lines = []
        with anyio.CancelScope() as scope:
            async with client.stream("GET", "/complete", params={"prompt": "Forever?"}) as response:
                async for line in response.aiter_lines():
                    lines.append(line)
                    if line == "and so on":
                        scope.cancel()  # the user closes the window

        with anyio.fail_after(10):
            while (await client.get("/streams")).text != "0":
                await anyio.sleep(0.01)
        print(lines[:4])
        print("no stream is open")


if __name__ == "__main__":
    with serving() as url:
        anyio.run(main, url, backend=sys.argv[1] if sys.argv[1:] else "asyncio")
