"""The figures over HTTP: `/metrics` for Prometheus, `/metrics.json` for whatever reads JSON. It changes nothing."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from orchestrator.errors import SettingsInvalid, StoreUnavailable
from orchestrator.hosts import host_of, is_local, is_loopback
from orchestrator.metrics.formats import TEXT_TYPE, to_json, to_text
from orchestrator.store.figures import Figures

FRESH_S = 1.0
CONTENT: dict[str, tuple[str, Callable[[Figures], bytes]]] = {
    "/metrics": (TEXT_TYPE, to_text),
    "/metrics.json": ("application/json", lambda figures: json.dumps(to_json(figures)).encode() + b"\n"),
}


class MetricsServer(ThreadingHTTPServer):
    """Gathers when it is asked; all who ask within a second get the same, so that they cost the store one look.

    Args:
        port: 0 takes a free one.
        gather: raises StoreUnavailable; who asks then gets 503.
    Raises:
        SettingsInvalid: the port is taken, or the host is none of this machine.
    """

    daemon_threads = True

    def __init__(self, host: str, port: int, gather: Callable[[], Figures]) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._gather = gather
        self.local = is_loopback(host)
        self._newest: tuple[float, Figures] | None = None
        self._looking = threading.Lock()
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise SettingsInvalid(f"cannot listen on {host}, port {port}: {error.strerror}") from None
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{self.server_address[1]}/metrics"

    def figures(self) -> Figures:
        """The figures, at most a second old."""
        with self._looking:
            if self._newest is None or time.monotonic() - self._newest[0] > FRESH_S:
                self._newest = time.monotonic(), self._gather()
            return self._newest[1]


class _Handler(BaseHTTPRequestHandler):
    server: MetricsServer
    timeout = 30  # seconds until a connection on which nothing comes is closed

    def do_GET(self) -> None:
        if self.server.local and not is_local(host_of(self.headers.get("Host", ""))):
            # A page elsewhere whose name points here (DNS rebinding) says its own name.
            told = f"these figures are for this machine; ask for {self.server.url}\n"
            self._answer(HTTPStatus.FORBIDDEN, "text/plain", told.encode())
            return
        kind, write = CONTENT.get(self.path.partition("?")[0], ("", None))
        if write is None:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", f"look at {' or '.join(CONTENT)}\n".encode())
            return
        try:
            body = write(self.server.figures())
        except StoreUnavailable as error:
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", f"{error.message}\n".encode())
        else:
            self._answer(HTTPStatus.OK, kind, body)

    def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: one line for each scrape tells nobody anything."""
