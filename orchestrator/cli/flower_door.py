"""The door in front of Flower: a link with a random token opens it and leaves a cookie.

Flower itself is not changed. Its Tornado application asks the door in `find_handler`, which every request passes, also
those for what Flower leaves open (`/metrics`, `/healthcheck`, static files). Behind the door Flower sees a user with a
password, so that its own checks (cross-site requests, API) are those of a protected Flower.
"""

from __future__ import annotations

import hmac
import logging
import signal
from base64 import b64encode
from typing import TYPE_CHECKING, Any

from flower.app import Flower
from flower.command import setup_logging
from flower.options import options
from flower.urls import settings as flower_settings
from tornado.httputil import HTTPServerRequest
from tornado.web import RequestHandler

from orchestrator.runtime.app import make_app

if TYPE_CHECKING:
    from orchestrator.cli.flower_server import FlowerServer

COOKIE_DAYS = 30
MAX_TASKS = 10_000  # about 4.4 kB of memory each; the history is in the store


def run_flower(server: FlowerServer) -> None:
    """Be Flower until SIGTERM or Ctrl-C."""
    options.port, options.address = server.port, "127.0.0.1"
    options.basic_auth = server.credentials
    options.max_tasks = MAX_TASKS
    setup_logging()
    logging.getLogger("flower.inspector").setLevel(logging.ERROR)  # it warns when no worker is there to answer
    flower = _GuardedFlower(_Door(server), capp=make_app(server.settings), options=options, **flower_settings)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: flower.io_loop.add_callback_from_signal(flower.io_loop.stop))
    flower.start_http_server()
    flower.start()
    flower.stop()


class _Door:
    """Who may pass: whoever has the token, the cookie it left, or a user's name and password."""

    def __init__(self, server: FlowerServer) -> None:
        self.server = server
        # Cookies do not know ports: two Flowers on one machine must not overwrite each other's.
        self.cookie = f"orchestrator_{server.port}"
        self._headers = ["Basic " + b64encode(pair.encode()).decode() for pair in server.credentials]

    def passes(self, request: HTTPServerRequest) -> bool:
        """Whether a request may go on to Flower; gives it the password that Flower asks for."""
        given = request.headers.get("Authorization", "")
        if any(_same(given, header) for header in self._headers):
            return True
        cookie = request.cookies.get(self.cookie)
        if cookie is not None and self._is_token(cookie.value):
            request.headers["Authorization"] = self._headers[0]
            return True
        return False

    def opened_by(self, request: HTTPServerRequest) -> bool:
        """Whether the request is the link with the token."""
        given = request.query_arguments.get("token", [b""])[-1]
        return request.method == "GET" and self._is_token(given.decode("utf-8", "replace"))

    def _is_token(self, text: str) -> bool:
        return self.server.token is not None and _same(text, self.server.token)


class _GuardedFlower(Flower):  # type: ignore[misc]
    def __init__(self, door: _Door, **options: Any) -> None:
        self._door = door
        super().__init__(**options)

    def find_handler(self, request: HTTPServerRequest, **options: Any) -> Any:
        if self._door.opened_by(request):
            return self.get_handler_delegate(request, _Welcome, {"door": self._door})
        if self._door.passes(request):
            return super().find_handler(request, **options)
        return self.get_handler_delegate(request, _Refusal, {"door": self._door})


class _Answer(RequestHandler):
    """An answer of the door itself."""

    def initialize(self, door: _Door) -> None:
        self.door = door

    def set_default_headers(self) -> None:
        self.set_header("Cache-Control", "no-store")
        self.set_header("Referrer-Policy", "no-referrer")
        self.clear_header("Server")

    def check_xsrf_cookie(self) -> None:
        """Nothing is done here that another site could want."""


class _Welcome(_Answer):
    def get(self, *_: str) -> None:
        """Keep the token in a cookie and take it out of the address."""
        assert self.door.server.token is not None
        self.set_cookie(
            self.door.cookie, self.door.server.token, expires_days=COOKIE_DAYS, httponly=True, samesite="Lax"
        )
        # The slashes of `//elsewhere.example` would make it an address of another site.
        self.redirect("/" + self.request.path.lstrip("/\\"))


class _Refusal(_Answer):
    def prepare(self) -> None:
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        if self.door.server.token is None:
            self.set_status(401)
            self.set_header("WWW-Authenticate", 'Basic realm="flower"')
            self.finish("Flower asks for the user and the password it was started with.\n")
        else:
            self.set_status(403)
            self.finish(f"Open the link that Flower printed when it started; it is kept in {self.door.server.file}\n")


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), wanted.encode())
