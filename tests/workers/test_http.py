"""The kind `http`: a real server on the loopback, and what each of its answers means."""

from __future__ import annotations

import gzip
import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator import Fatal, RetryLater
from orchestrator.agents import loop
from orchestrator.testing import simulate
from workers.http_agent import ServerFailed, http_agent

Answer = tuple[int, dict[str, str], bytes]


class Server(ThreadingHTTPServer):
    """Answers with what `answer` returns, or itself writes, and remembers what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, dict[str, str], Any]] = []
        self.answer: Callable[[BaseHTTPRequestHandler], Answer | None] = lambda _: (200, {}, b"1")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
        answer = self.server.answer(self)
        if answer is not None:
            status, headers, content = answer
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def ask(server: Any, values: dict[str, Any] | None = None, *, path: str = "/v1", **limits: Any) -> Any:
    """One call of a task, as a worker makes it."""
    task = {"url": server.url + path, **limits}
    agent = http_agent("a", {"hosts": ["127.0.0.1"], "tasks": {"t": task}})
    return loop.run(agent.tasks["t"].fn(SimpleNamespace(idempotency_key="run/step[3]"), **(values or {})))


# --- what goes out and comes back ---------------------------------------------------------------------------------


def test_values_are_posted_as_json_and_the_answer_is_the_output(server: Server) -> None:
    server.answer = lambda _: (200, {}, '{"text": "ünï", "n": [1, null]}'.encode())
    values = {"text": "ünï\n\"", "list": [1, None, 2.5], "ctx": {"deep": True}}
    assert ask(server, values, path="/v1/translate?fast=1") == {"text": "ünï", "n": [1, None]}
    ((path, headers, body),) = server.asked
    assert (path, body) == ("/v1/translate?fast=1", values)
    assert headers["content-type"] == "application/json"


def test_the_idempotency_key_of_the_step_is_sent(server: Server) -> None:
    ask(server)
    assert server.asked[0][1]["idempotency-key"] == "run/step[3]"


def test_a_workflow_asks_a_declared_address_with_the_same_key_at_every_attempt(server: Server, tmp_path: Path) -> None:
    server.answer = lambda _: (500, {}, b"") if len(server.asked) == 1 else (200, {}, b'"done"')
    agent = http_agent("api", {"hosts": ["127.0.0.1"], "tasks": {"t": {"url": server.url + "/v1"}}})
    (tmp_path / "w.yaml").write_text(
        "name: w\nsteps:\n  - {id: e, agent: api, task: t, with: {n: 3}, retry: {max_attempts: 2}}\n"
        'outputs: {said: "${{ steps.e.output }}"}\n'
    )
    assert simulate(tmp_path / "w.yaml", agents=[agent]).outputs == {"said": "done"}
    first, second = (headers["idempotency-key"] for _, headers, _ in server.asked)
    assert first == second


def test_an_answer_without_content_is_null(server: Server) -> None:
    server.answer = lambda _: (204, {}, b"")
    assert ask(server) is None


@pytest.mark.parametrize(("content", "told"), [(b"", "but nothing"), (b"<html>", "it begins with '<html>'")])
def test_an_answer_that_is_no_json_is_fatal(server: Server, content: bytes, told: str) -> None:
    server.answer = lambda _: (200, {}, content)
    with pytest.raises(Fatal, match=f"/v1 gave no JSON.*{told}"):
        ask(server)


def test_a_header_gets_its_value_from_the_environment(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_TOKEN", "Bearer x y\n")
    ask(server, header_from_env={"Authorization": "API_TOKEN"})
    assert server.asked[0][1]["authorization"] == "Bearer x y"


def test_a_secret_never_gets_into_an_error_or_a_log(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    header = {"Authorization": "API_TOKEN"}
    monkeypatch.setenv("API_TOKEN", "hushhush")
    server.answer = lambda request: (400, {}, f"bad token: {request.headers['Authorization']}".encode())
    with pytest.raises(Fatal, match=r"refused with status 400: bad token: \*\*\*$"):
        ask(server, header_from_env=header)
    monkeypatch.setenv("API_TOKEN", "hushhush\nX-Other: 1")
    with pytest.raises(Fatal, match="the value of the variable API_TOKEN cannot be a header"):
        ask(server, header_from_env=header)
    monkeypatch.delenv("API_TOKEN")
    with pytest.raises(Fatal, match="Authorization needs the variable API_TOKEN, which the worker does not have"):
        ask(server, header_from_env=header)
    assert len(server.asked) == 1
    assert "hushhush" not in caplog.text


# --- what goes wrong ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again_when_it_says(server: Server, status: int) -> None:
    server.answer = lambda _: (status, {"Retry-After": "7"}, b"later")
    with pytest.raises(RetryLater, match=f"busy .status {status}.: later") as busy:
        ask(server)
    assert busy.value.after_s == 7
    at = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    for text, seconds in ((at, 100), ("Wed, 21 Oct 2015 07:28:00 GMT", 0), ("999999999", 86_400)):
        server.answer = lambda _, text=text: (status, {"Retry-After": text}, b"")  # type: ignore[misc]
        with pytest.raises(RetryLater) as busy:
            ask(server)
        assert busy.value.after_s == pytest.approx(seconds, abs=5)


@pytest.mark.parametrize(
    ("status", "headers"),
    [(500, {}), (502, {"Retry-After": "7"}), (503, {}), (429, {}), (503, {"Retry-After": "soon"})],
)
def test_other_failures_of_a_server_leave_it_to_the_retry_policy(
    server: Server, status: int, headers: dict[str, str]
) -> None:
    server.answer = lambda _: (status, headers, b"oops\n" * 10_000)
    with pytest.raises(ServerFailed, match=f"failed with status {status}: oops oops") as failed:
        ask(server, max_answer_bytes=100)
    assert len(str(failed.value)) < 500


@pytest.mark.parametrize("status", [400, 401, 404, 409, 422])
def test_a_refusal_is_fatal(server: Server, status: int) -> None:
    server.answer = lambda _: (status, {"Retry-After": "7"}, b'{"why": "no"}')
    with pytest.raises(Fatal, match=f'refused with status {status}: {{"why": "no"}}'):
        ask(server)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_refused_and_named(server: Server, status: int) -> None:
    there = f"{server.url}/there"
    server.answer = lambda _: (status, {"Location": there}, b"")
    with pytest.raises(Fatal, match=rf"refers to {there} \(status {status}\): redirects are not followed"):
        ask(server)
    assert [path for path, _, _ in server.asked] == ["/v1"]


def test_a_host_that_is_not_listed_is_not_asked(server: Server) -> None:
    task = {"url": server.url + "/v1"}
    with pytest.raises(ValueError, match=r"the host 127\.0\.0\.1 is not among `hosts`"):
        http_agent("a", {"hosts": ["api.example"], "tasks": {"t": task}})
    assert server.asked == []


def test_a_server_that_is_not_there_is_an_error_that_names_it() -> None:
    with socket.socket() as taken:  # a port that is nobody else's, and nobody listens
        taken.bind(("127.0.0.1", 0))
        nowhere = SimpleNamespace(url=f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(ConnectionError, match=rf"{nowhere.url}/v1: ConnectError"):
            ask(nowhere, path="/v1?key=private")


def test_a_server_that_hangs_up_is_a_connection_error(server: Server) -> None:
    def hang_up(request: BaseHTTPRequestHandler) -> None:
        request.close_connection = True

    server.answer = hang_up
    with pytest.raises(ConnectionError, match="RemoteProtocolError"):
        ask(server)


@pytest.mark.parametrize("part", ["headers", "content"])
def test_a_server_that_drips_its_answer_has_one_time_limit_for_all_of_it(server: Server, part: str) -> None:
    def drip(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\n" + (b"\r\n" if part == "content" else b"X: "))
        try:
            while True:
                request.wfile.write(b"1")
                time.sleep(0.05)
        except OSError:
            request.close_connection = True

    server.answer = drip
    started = time.monotonic()
    with pytest.raises(TimeoutError, match=r"/v1 took longer than 0\.5 s"):
        ask(server, timeout="500ms")
    assert time.monotonic() - started < 5


def test_an_answer_larger_than_its_limit_is_fatal_and_not_read_on(server: Server) -> None:
    server.answer = lambda _: (200, {}, b'"' + b"x" * 98 + b'"')
    assert ask(server, max_answer_bytes=100) == "x" * 98
    with pytest.raises(Fatal, match="answered with more than 99 bytes"):
        ask(server, max_answer_bytes=99)

    def endless(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                request.wfile.write(b"x" * 65536)
        except OSError:
            request.close_connection = True

    server.answer = endless
    with pytest.raises(Fatal, match="answered with more than 100,000 bytes"):
        ask(server, max_answer_bytes=100_000)


@pytest.mark.parametrize("status", [200, 500])
def test_a_compressed_answer_is_not_read(server: Server, status: int) -> None:
    server.answer = lambda _: (status, {"Content-Encoding": "gzip"}, gzip.compress(b'"' + b"x" * 1_000_000 + b'"'))
    told = "answered compressed .gzip., although it was asked not to" if status == 200 else "failed with status 500$"
    with pytest.raises((Fatal, ServerFailed), match=told):
        ask(server)
    assert server.asked[0][1]["accept-encoding"] == "identity"


def test_without_its_library_the_error_says_what_to_install(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(Fatal, match=r"^httpx is not installed: pip install 'agent-orchestrator\[http\]'$"):
        ask(server)
