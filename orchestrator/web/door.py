"""The door in front of Flower: which requests pass, and as whom.

Flower itself is not changed. Its Tornado application asks the door in `find_handler`, which every request passes, also
those for what Flower leaves open (`/metrics`, `/healthcheck`, static files). Where a link opens it, Flower sees a user
with a password behind the door, so that its own checks (cross-site requests, API) are those of a protected Flower.
"""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, NamedTuple

from flower.utils.authentication import authenticate
from tornado.httputil import HTTPServerRequest
from tornado.web import RequestHandler, decode_signed_value, stream_request_body

from orchestrator.hosts import host_of, is_local, is_loopback, is_number, netloc_of
from orchestrator.web.keyring import SESSION_S, Keyring
from orchestrator.web.server import FlowerServer

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
ELSEWHERE = "from"  # a parameter of addresses: whoever asks has come from another site, and is asking again


class Refused(NamedTuple):
    """Why a request does not pass: a status, and a text that says what to do.

    `again`: what the browser is to ask for at once, from here, because it may have kept its cookie back.
    """

    status: HTTPStatus
    text: str
    again: str = ""


class Opened(NamedTuple):
    """The request is the link: its browser gets the secret of a session."""

    secret: str | None  # None: the browser has one that goes on


class Door:
    """Looks at every request.

    Args:
        credentials: what Flower is told to ask for.
        keyring: where a link opens it.
        oauth_user: the address of who has logged in with Flower's OAuth, of a request; None: nobody.
        login_path: where that is done.
    """

    def __init__(
        self,
        server: FlowerServer,
        *,
        credentials: list[str],
        keyring: Keyring | None,
        oauth_user: Callable[[HTTPServerRequest], str | None] | None = None,
        login_path: str = "",
    ) -> None:
        self.server = server
        # Cookies do not know ports: two Flowers on one machine must not overwrite each other's.
        self.cookie = f"orchestrator_{server.port}"
        self._hosts = frozenset(name.lower().rstrip(".") for name in server.access.hosts)
        self._headers = ["Basic " + b64encode(pair.encode()).decode() for pair in credentials]
        self._keyring = keyring
        self._oauth_user = oauth_user
        self._login_path = login_path

    def look(self, request: HTTPServerRequest) -> Refused | Opened | None:
        """None: it may go on to Flower, with the password that Flower asks for."""
        return (
            self._wrong_host(request) or self._foreign(request) or self._unknown(request) or self._unreadable(request)
        )

    def _wrong_host(self, request: HTTPServerRequest) -> Refused | None:
        """A page elsewhere whose name points here (DNS rebinding) says its own name."""
        host = host_of(request.host)
        if host in self._hosts or is_local(host):
            return None
        if is_number(host) and not is_loopback(self.server.address):
            return None
        told = f"Flower is not opened as {host!r} here; `orchestrator flower --host {host}` would allow it.\n"
        if not host:
            told = "The request names no host.\n"
        return Refused(HTTPStatus.FORBIDDEN, told)

    @staticmethod
    def _foreign(request: HTTPServerRequest) -> Refused | None:
        """Another site may link to a page, and do nothing else."""
        origin, site = request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site")
        foreign = origin is not None and netloc_of(origin) != request.host.lower()
        if foreign or (request.method not in SAFE and site not in (None, "same-origin", "none")):
            return Refused(HTTPStatus.FORBIDDEN, "This request comes from another site.\n")
        return None

    @staticmethod
    def _unreadable(request: HTTPServerRequest) -> Refused | None:
        """A path of nothing that there is; the file system raises what no handler expects."""
        if "%00" in request.path or "\0" in request.path:
            return Refused(HTTPStatus.BAD_REQUEST, "A path has no NUL in it.\n")
        return None

    def _unknown(self, request: HTTPServerRequest) -> Refused | Opened | None:
        given = request.headers.get("Authorization", "")
        if any(_same(given, header) for header in self._headers):
            return None
        if self._oauth_user is not None:
            return self._without_user(request, self._oauth_user)
        if self._keyring is None:
            told = "Flower asks for the user and the password it was started with.\n"
            return Refused(HTTPStatus.UNAUTHORIZED, told)
        return self._without_session(request, self._keyring)

    def _without_user(
        self, request: HTTPServerRequest, user: Callable[[HTTPServerRequest], str | None]
    ) -> Refused | None:
        if request.path.rstrip("/") == self._login_path or user(request) is not None:
            return None
        if request.method == "GET" and "text/html" in request.headers.get("Accept", ""):
            return Refused(HTTPStatus.FOUND, self._login_path)
        return Refused(HTTPStatus.FORBIDDEN, f"Log in first, at {self._login_path}\n")

    def _without_session(self, request: HTTPServerRequest, keyring: Keyring) -> Refused | Opened | None:
        cookie = request.cookies.get(self.cookie)
        inside = cookie is not None and keyring.knows(cookie.value)
        token = request.query_arguments.get("token", [b""])[-1].decode("utf-8", "replace")
        if request.method == "GET" and token:
            if inside:
                return Opened(None)
            if (secret := keyring.open(token)) is not None:
                self.server.renew(keyring)
                return Opened(secret)
        elsewhere = request.query_arguments.pop(ELSEWHERE, None)
        if inside:
            request.headers["Authorization"] = self._headers[0]
            return None
        used = "This link has opened Flower once, and works no more. " if keyring.was_used(token) else ""
        told = f"{used}Open the link in this file, which you alone can read:\n\n  {self.server.file}\n"
        return Refused(HTTPStatus.FORBIDDEN, told, "" if elsewhere else _once_more(request))


@stream_request_body
class Answer(RequestHandler):
    """What the door itself answers, before the body of the request is read."""

    def initialize(self, door: Door, found: Refused | Opened) -> None:
        self.door, self.found = door, found

    def set_default_headers(self) -> None:
        self.set_header("Cache-Control", "no-store")
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.clear_header("Server")

    def data_received(self, chunk: bytes) -> None:
        """Whoever is not inside has nothing that is kept."""

    def check_xsrf_cookie(self) -> None:
        """Nothing is done here that another site could want."""

    def prepare(self) -> None:
        if isinstance(self.found, Opened):
            self._welcome(self.found.secret)
        elif self.found.status is HTTPStatus.FOUND:
            self.redirect(self.found.text)
        else:
            self.set_status(self.found.status)
            if self.found.status is HTTPStatus.UNAUTHORIZED:
                self.set_header("WWW-Authenticate", 'Basic realm="flower"')
            if self.found.again:
                self.set_header("Refresh", f"0; url={self.found.again}")
            self.set_header("Content-Type", "text/plain; charset=utf-8")
            self.finish(self.found.text)

    def _welcome(self, secret: str | None) -> None:
        """Keep the session in a cookie, give the one against cross-site requests, take the token out of the address."""
        _ = self.xsrf_token
        if secret is not None:
            self.set_cookie(
                self.door.cookie, secret, max_age=SESSION_S, httponly=True, samesite="Strict",
                secure=self.request.protocol == "https",
            )  # fmt: skip
        self.redirect(_local(self.request.path))


def oauth_user(cookie_secret: Any, pattern: str) -> Callable[[HTTPServerRequest], str | None]:
    """Reads the cookie that Flower leaves after a login, as Flower does.

    Args:
        pattern: of the addresses that may come in, Flower's `--auth`.
    """

    def user(request: HTTPServerRequest) -> str | None:
        cookie = request.cookies.get("user")
        value = decode_signed_value(cookie_secret, "user", cookie.value) if cookie else None
        address = value.decode("utf-8", "replace") if value else None
        return address if address and authenticate(pattern, address) else None

    return user


def _once_more(request: HTTPServerRequest) -> str:
    """The address for whoever has clicked on a page of another site: a browser sends no strict cookie with that.

    It is another address: to the same one, where it ends in `#step=...`, a browser sends no request, and a parameter
    shows who has asked before, so that nobody goes round in circles.
    """
    site, mode = request.headers.get("Sec-Fetch-Site"), request.headers.get("Sec-Fetch-Mode")
    if request.method != "GET" or mode != "navigate" or site not in ("cross-site", "same-site"):
        return ""
    return f"{_local(request.path)}?{request.query}{'&' if request.query else ''}{ELSEWHERE}=elsewhere"


def _local(path: str) -> str:
    """The slashes of `//elsewhere.example` would make it an address of another site."""
    return "/" + path.lstrip("/\\")


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), wanted.encode())
