"""Flower with the door before it and the Workflows pages in it. Neither is a change of Flower: see docs/web.md."""

from __future__ import annotations

import logging
import os
import resource
import secrets
import signal
import socket
from typing import Any

from flower.app import Flower
from flower.command import setup_logging
from flower.options import options
from flower.urls import settings as flower_settings
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders, HTTPServerRequest
from tornado.netutil import bind_sockets
from tornado.web import OutputTransform

from orchestrator.runtime.app import make_app
from orchestrator.web.api.handler import MOST_BYTES
from orchestrator.web.door import Answer, Door, oauth_user
from orchestrator.web.install import install
from orchestrator.web.server import FlowerServer
from orchestrator.web.site import Site

MAX_TASKS = 10_000  # about 4.4 kB of memory each; the history is in the store
DEFAULT_MAX_TASKS = 100_000  # Flower's own
MOST_CONNECTIONS = 500  # a browser opens six
IDLE_S = 60.0  # for the head of a request, and for its body; who follows a run has sent both
USER = "orchestrator"  # who Flower sees where a link has opened the door


def run_flower(server: FlowerServer) -> None:
    """Be Flower until SIGTERM or Ctrl-C. Options of Flower's own are set before: see `flower_options.py`."""
    os.umask(0o077)  # for what Flower itself keeps: --persistent holds all tasks
    access, keyring = server.access, server.keyring()
    options.port, options.address = server.port, server.address
    options.read_only = access.read_only or not access.control
    if options.max_tasks == DEFAULT_MAX_TASKS:
        options.max_tasks = MAX_TASKS
    if keyring is not None:
        options.basic_auth = [f"{USER}:{secrets.token_urlsafe(32)}"]
    setup_logging()
    logging.getLogger("flower.inspector").setLevel(logging.ERROR)  # it warns when no worker is there to answer
    site = Site(server.settings, read_only=access.read_only)
    install(site)
    door = Door(
        server,
        credentials=list(options.basic_auth or []),
        keyring=keyring,
        oauth_user=oauth_user(flower_settings["cookie_secret"], options.auth) if options.auth else None,
        login_path=flower_settings["login_url"],
    )
    flower = _GuardedFlower(door, capp=make_app(server.settings), options=options, **flower_settings)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: flower.io_loop.add_callback_from_signal(flower.io_loop.stop))
    flower.start_http_server()
    flower.start()
    flower.stop()
    site.close()


class _BoundedServer(HTTPServer):
    """Holds so many connections, for so long, with so much in them, whoever has opened them."""

    def initialize(self, *args: Any, **options: Any) -> None:
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most = min(MOST_CONNECTIONS, files // 2)
        options |= {"idle_connection_timeout": IDLE_S, "body_timeout": IDLE_S, "max_body_size": 2 * MOST_BYTES}
        super().initialize(*args, **options)

    def _handle_connection(self, connection: socket.socket, address: Any) -> None:
        # Without a file for another one Tornado would try again at once, for ever, and log each time.
        if len(self._connections) >= self._most:
            connection.close()
        else:
            super()._handle_connection(connection, address)


class _Frameless(OutputTransform):
    """No other site may put a page of Flower into its own. Ours say it themselves."""

    def transform_first_chunk(
        self, status_code: int, headers: HTTPHeaders, chunk: bytes, finishing: bool
    ) -> tuple[int, HTTPHeaders, bytes]:
        headers.setdefault("X-Frame-Options", "DENY")
        headers.setdefault("Referrer-Policy", "same-origin")
        return status_code, headers, chunk


class _GuardedFlower(Flower):  # type: ignore[misc]
    def __init__(self, door: Door, **options: Any) -> None:
        self._door = door
        super().__init__(**options)
        self.add_transform(_Frameless)

    def start_http_server(self) -> int:
        sockets = bind_sockets(self.options.port, address=self.options.address)
        server = _BoundedServer(self, ssl_options=self.ssl_options, xheaders=self.options.xheaders)
        server.add_sockets(sockets)
        return int(sockets[0].getsockname()[1])

    def find_handler(self, request: HTTPServerRequest, **options: Any) -> Any:
        found = self._door.look(request)
        if found is None:
            return super().find_handler(request, **options)
        return self.get_handler_delegate(request, Answer, {"door": self._door, "found": found})
