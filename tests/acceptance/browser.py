"""A browser without a window: it keeps cookies, follows nothing by itself, and sends what a test tells it to."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import urlencode, urlsplit

from tests.acceptance.project import Project
from tests.waiting import wait_until


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


class Browser:
    """One browser at one site.

    Args:
        site: the address of Flower, with or without a token behind it.
        headers: sent with every request, and those of one request over them.
    """

    def __init__(self, site: str, **headers: str) -> None:
        self.link = site
        parts = urlsplit(site)
        self.origin = f"{parts.scheme}://{parts.netloc}"
        self._address = parts.hostname, parts.port
        self._headers = headers
        self.cookies: dict[str, str] = {}

    def get(self, path: str, **headers: str) -> Reply:
        return self.send("GET", path, None, **headers)

    def post(self, path: str, document: Any = None, **headers: str) -> Reply:
        """A POST as a page of ours does it; `X_CSRF_Token=""` leaves the header out."""
        own = {"X_CSRF_Token": self.cookies.get("_xsrf", ""), "Content_Type": "application/json"}
        body = None if document is None else json.dumps(document).encode()
        return self.send("POST", path, body, **own | headers)

    def submit(self, path: str, fields: dict[str, str], **headers: str) -> Reply:
        """A POST as a form without any script does it."""
        own = {"Content_Type": "application/x-www-form-urlencoded"}
        return self.send("POST", path, urlencode(fields).encode(), **own | headers)

    def send(self, method: str, path: str, body: bytes | None, **headers: str) -> Reply:
        connection = http.client.HTTPConnection(*self._address, timeout=20)
        try:
            connection.request(method, path, body, self._all(headers))
            answer = connection.getresponse()
            self._keep(answer)
            return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read().decode())
        finally:
            connection.close()

    @contextmanager
    def stream(self, path: str, **headers: str) -> Iterator[Iterator[dict[str, str]]]:
        """The server-sent events of a path, as they come; comments as `{"": text}`."""
        connection = http.client.HTTPConnection(*self._address, timeout=30)
        try:
            connection.request("GET", path, None, self._all(headers))
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            assert answer.getheader("Content-Type") == "text/event-stream; charset=utf-8"
            yield _events(answer)
        finally:
            connection.close()

    def enter(self) -> Browser:
        """Open the link, as somebody who clicks on it, and load one page."""
        parts = urlsplit(self.link)
        reply = self.get(f"{parts.path}?{parts.query}")
        assert reply.status == 302, reply.text
        assert self.get("/workflows").status == 200
        return self

    def _all(self, headers: dict[str, str]) -> dict[str, str]:
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        named = {"Cookie": cookies} | self._headers | headers
        return {name.replace("_", "-"): value for name, value in named.items() if value}

    def _keep(self, answer: http.client.HTTPResponse) -> None:
        for line in answer.headers.get_all("Set-Cookie") or []:
            for name, morsel in SimpleCookie(line).items():
                self.cookies[name] = morsel.value


def _events(answer: http.client.HTTPResponse) -> Iterator[dict[str, str]]:
    event: dict[str, str] = {}
    for raw in answer:
        line = raw.decode().rstrip("\n")
        if line:
            name, _, value = line.partition(": ")
            event[name.strip(":")] = value
        elif event:
            yield event
            event = {}


def kept_link(project: Project) -> str:
    """The link that works now, of the one Flower of a project."""
    [link] = (project.folder / "state" / "flower.url").read_text().split()
    return link


@contextmanager
def flower(project: Project, *words: str) -> Iterator[Browser]:
    """`orchestrator flower` with these options, for the time of a `with`."""
    process = project.start("flower", "--port", "0", *words)
    try:
        assert process.stdout
        link = process.stdout.readline().strip()
        assert re.fullmatch(r"https?://\S+", link), process.stderr.read() if process.stderr else ""
        browser = Browser(link)
        _wait_for(browser)
        yield browser
    finally:
        process.terminate()
        process.wait(15)


def _wait_for(browser: Browser) -> None:
    def answers() -> bool:
        try:
            return browser.get("/healthcheck").status > 0
        except ConnectionRefusedError:
            return False

    wait_until(answers, what="Flower", timeout_s=30, every_s=0.1)
