"""The page's server: the refiner, mattes and colours behind a few addresses, for one person on this machine."""

import asyncio
import re
import socket
import threading
import time
import webbrowser
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from spatialprop import __version__
from spatialprop.demo.sessions import Sessions
from spatialprop.errors import InputError
from spatialprop.refiner import Refiner, Rough
from spatialprop.values import Colorize, Matte

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

PAGE = Path(__file__).with_name("page")
MOST_PIXELS = 1 << 24
LOOPBACK = ("127.0.0.1", "localhost", "::1")
ROUGH = {"default": 12, "most": 64}  # pixels, what the slider begins with
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_Found = TypeVar("_Found")


def make_app(
    refiner: Refiner,
    *,
    matte: Matte | None = None,
    colorize: Colorize | None = None,
    hosts: Sequence[str] = LOOPBACK,
    most_pixels: int = MOST_PIXELS,
    about: str = "",
) -> "Starlette":
    """The application that `spatialprop serve` runs.

    Args:
        refiner: What refines.
        matte: What finds alpha; without it the page does not offer that.
        colorize: What colours; without it the page does not offer that.
        hosts: The names under which browsers may address it; "*" for any. Pages of other sites are always refused.
        most_pixels: Larger photographs are refused.
        about: What the page says about the refiner.
    """
    _need()
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.responses import FileResponse, JSONResponse, Response
    from starlette.routing import Mount, Route
    from starlette.staticfiles import StaticFiles

    sessions = Sessions(refiner, matte, colorize)
    ready = asyncio.Event()
    failure: list[str] = []

    @asynccontextmanager
    async def lifespan(_: "Starlette") -> AsyncIterator[None]:
        task = asyncio.create_task(warm_up())
        yield
        await task

    async def warm_up() -> None:
        try:
            await asyncio.to_thread(sessions.warm_up)
        except Exception as error:
            failure.append(f"What the page needs does not work here: {error}")
        ready.set()

    async def facts(_: "Request") -> "Response":
        found = {
            "about": about or f"spatialprop {__version__}. {refiner.description}".strip(),
            "mostPixels": most_pixels,
            "affinity": True,
            "modes": ["refine", *(["matte"] if matte else []), *(["colour"] if colorize else [])],
            "judges": refiner.network.judges_labels,
            "rough": ROUGH,
            "ready": ready.is_set(),
        }
        return JSONResponse(found)

    async def wait(_: "Request") -> "Response":
        await ready.wait()
        return JSONResponse({"error": failure[0]}, 500) if failure else Response(status_code=204)

    async def image(request: "Request") -> "Response":
        width, height = (_number(request, side, 1, most_pixels) for side in ("width", "height"))
        if width * height > most_pixels:
            raise InputError(f"the photograph has {width} x {height} pixels; at most {most_pixels} are taken")
        body = await _body(request, 3 * width * height)
        if len(body) != 3 * width * height:
            raise InputError(f"{width} x {height} pixels are {3 * width * height} bytes; got {len(body)}")
        pixels = np.frombuffer(body, np.uint8).reshape(height, width, 3)
        name = await asyncio.to_thread(sessions.open, pixels)  # which waits while another is refined
        return JSONResponse({"id": name})

    async def refine(request: "Request") -> "Response":
        rough: Rough = "auto"
        if request.query_params.get("rough") != "auto":
            rough = _number(request, "rough", 0, 1 << 16, "auto or ")
        body = await _body(request, most_pixels)
        start = time.perf_counter()
        labels = await asyncio.to_thread(sessions.refine, request.query_params.get("image", ""), body, rough)
        return _bytes(labels, start)

    async def cut_out(request: "Request") -> "Response":
        return await _map(request, sessions.matte, most_pixels)

    async def colour(request: "Request") -> "Response":
        return await _map(request, sessions.colour, 4 * most_pixels)

    async def _map(request: "Request", make: Callable[[str, bytes], bytes], most: int) -> "Response":
        body = await _body(request, most)
        start = time.perf_counter()
        return _bytes(await asyncio.to_thread(make, request.query_params.get("image", ""), body), start)

    async def affinity(request: "Request") -> "Response":
        pixel = (_number(request, "row", 0, most_pixels), _number(request, "column", 0, most_pixels))
        start = time.perf_counter()
        return _bytes(await asyncio.to_thread(sessions.affinity, request.query_params.get("image", ""), pixel), start)

    def _bytes(content: bytes, start: float) -> "Response":
        took = f"engine;dur={1000 * (time.perf_counter() - start):.1f}"
        return Response(content, media_type="application/octet-stream", headers={"Server-Timing": took})

    async def engine(_: "Request") -> "Response":
        return FileResponse(PAGE / "engines" / "server.js")

    def answer(code: int) -> Callable[["Request", Exception], Awaitable["Response"]]:
        async def found(_: "Request", error: Exception) -> "Response":
            return JSONResponse({"error": str(error.args[0] if error.args else error)}, code)

        return found

    return Starlette(
        lifespan=lifespan,
        middleware=[Middleware(_OwnPageOnly, hosts=hosts)],
        routes=[
            Route("/api/about", facts),
            Route("/api/ready", wait),
            Route("/api/image", image, methods=["POST"]),
            Route("/api/refine", refine, methods=["POST"]),
            Route("/api/affinity", affinity),
            Route("/api/matte", cut_out, methods=["POST"]),
            Route("/api/colour", colour, methods=["POST"]),
            Route("/engine.js", engine),
            Mount("/", StaticFiles(directory=PAGE, html=True)),
        ],
        exception_handlers={InputError: answer(400), LookupError: answer(404), _TooLargeError: answer(413)},
    )


def serve(
    refiner: Refiner,
    *,
    matte: Matte | None = None,
    colorize: Colorize | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    browser: bool = True,
    most_pixels: int = MOST_PIXELS,
    started: Callable[[str], object] = print,
) -> None:
    """Serve the page until the process is stopped.

    Args:
        refiner: What refines.
        matte: What finds alpha, if the page is to offer that.
        colorize: What colours, if the page is to offer that.
        host: The address to listen on. Any but 127.0.0.1 lets other machines use the page.
        port: 0 takes a free one.
        browser: Open the page in the browser.
        most_pixels: Larger photographs are refused.
        started: Called with the page's address.
    """
    _need()
    import uvicorn

    hosts = (*LOOPBACK, host) if host in LOOPBACK else ("*",)
    app = make_app(refiner, matte=matte, colorize=colorize, hosts=hosts, most_pixels=most_pixels)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, port))
            listening.listen()  # before the address is told: whoever is quick must find the door open
        except OSError as error:
            raise OSError(f"cannot listen on {host}, port {port}: {error.strerror or error}; choose another") from None
        place = f"[{host}]" if ":" in host else host
        address = f"http://{place}:{listening.getsockname()[1]}/"
        started(address)
        if browser:
            threading.Timer(0.5, webbrowser.open, [address]).start()
        config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=1)
        with suppress(KeyboardInterrupt):  # which is how it is meant to end
            uvicorn.Server(config).run(sockets=[listening])


class _TooLargeError(InputError):
    """A request has more bytes than it may have."""


class _OwnPageOnly:
    """Refuse what pages of other sites ask for, and say in every answer how a browser should guard the page.

    A site may bring a browser to ask under the site's own name, by an entry of that name with this machine's address:
    so the name counts too.
    """

    def __init__(self, app: Any, hosts: Sequence[str]) -> None:
        self.app = app
        self.hosts = hosts

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if problem := self._problem(scope["method"], headers):
            from starlette.responses import PlainTextResponse

            refusal = PlainTextResponse(problem, 403)
            await refusal(scope, receive, send)
            return

        async def guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                added = [(name.lower().encode(), value.encode()) for name, value in _HEADERS.items()]
                message = {**message, "headers": [*message["headers"], *added]}
            await send(message)

        await self.app(scope, receive, guarded)

    def _problem(self, method: str, headers: Mapping[str, str]) -> str:
        host, origin = headers.get("host", ""), headers.get("origin")
        if "*" not in self.hosts and _without_port(host) not in self.hosts:
            return f"this page is not called {host}"
        followed = method == "GET" and headers.get("sec-fetch-mode") == "navigate"  # a link to the page
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and not followed:
            return "only the page itself may ask"
        return "" if origin is None or origin.split("://")[-1] == host else "only the page itself may ask"


def _without_port(host: str) -> str:
    """The name in a Host header.

    Example:
        >>> _without_port("127.0.0.1:8000"), _without_port("[::1]:8000"), _without_port("localhost")
        ('127.0.0.1', '::1', 'localhost')
    """
    name = re.sub(r":[0-9]*$", "", host)
    return name.removeprefix("[").removesuffix("]")


def _number(request: "Request", name: str, least: int, most: int, also: str = "") -> int:
    text = request.query_params.get(name, "")
    if not text.isascii() or not text.isdigit() or len(text) > 9 or not least <= int(text) <= most:
        raise InputError(f"{name} must be {also}a whole number from {least} to {most}; got {text[:40]!r}")
    return int(text)


async def _body(request: "Request", most: int) -> bytes:
    """The body, refused as soon as it has more bytes than it may have."""
    claimed = request.headers.get("content-length", "")
    if claimed.isdigit() and int(claimed) > most:
        raise _TooLargeError(f"at most {most} bytes are taken here; got {claimed}")
    parts, size = [], 0
    async for part in request.stream():
        parts.append(part)
        size += len(part)
        if size > most:
            raise _TooLargeError(f"at most {most} bytes are taken here; got more")
    return b"".join(parts)


def _need() -> None:
    missing = [package for package in ("starlette", "uvicorn") if find_spec(package) is None]
    if missing:
        raise ImportError(f"the page needs {' and '.join(missing)}: pip install 'spatialprop[serve]'")
