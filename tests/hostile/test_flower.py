"""Flower as this project starts it: what Flower alone leaves open is shut."""

from __future__ import annotations

import os
import re
import resource
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from flower.utils.authentication import authenticate
from tornado.web import create_signed_value

from tests.acceptance.browser import Browser, flower
from tests.acceptance.project import Project
from tests.acceptance.test_web_door import login
from tests.hostile.cases import Case
from tests.memory import MIB, resident_bytes
from tests.waiting import wait_until

WRITES = (
    "/api/worker/shutdown/x", "/api/worker/pool/grow/x", "/api/task/revoke/x", "/api/task/apply/x",
    "/api/task/async-apply/x", "/api/task/send-task/x", "/api/task/rate-limit/x", "/api/task/timeout/x",
)  # fmt: skip


@pytest.mark.hostile("F-01")
def test_flower_listens_here_only_with_a_token_and_changes_nothing(
    case: Case, project: Project, stranger: Browser, inside: Browser
) -> None:
    port = stranger.link.partition("127.0.0.1:")[2].partition("/")[0]
    listening = subprocess.run(["ss", "-Hltn", f"sport = :{port}"], capture_output=True, text=True, check=True).stdout
    assert re.findall(r"\S+:" + port, listening) == [f"127.0.0.1:{port}"]
    assert len(stranger.link.partition("?token=")[2]) >= 43, "256 bits"
    assert inside.post("/api/task/async-apply/x", {}).status == 403
    for address in ("0.0.0.0", "::", "10.0.0.1"):
        done = project.call("flower", "--address", address, "--port", "0")
        assert (done.returncode, "ask for a login too" in done.stderr) == (2, True)


@pytest.mark.hostile("F-02")
def test_nothing_of_flower_is_told_without_a_login_or_under_another_name(case: Case, stranger: Browser) -> None:
    for path in ("/tasks/datatable", "/tasks", "/broker", "/metrics", "/api/tasks", "/healthcheck"):
        for host in ("", "evil.example"):
            assert stranger.get(path, Host=host).status == 403


@pytest.mark.hostile("F-04")
def test_flowers_own_control_is_off_for_those_who_are_inside_too(case: Case, project: Project) -> None:
    with flower(project, "--read-only", "--basic-auth", "ada:secret") as anybody:
        inside = Browser(anybody.link, Authorization=login("ada:secret"))
        for path in WRITES:
            assert inside.post(path, {}).status == 403, path
            assert anybody.post(path, {}).status == 401, path
        assert inside.post("/workflows/api/runs", {}, X_CSRF_Token="any").status == 403


@pytest.mark.hostile("F-05")
def test_a_pattern_of_addresses_means_the_whole_address(case: Case, project: Project) -> None:
    options = (
        "--auth=.*@example.com", "--auth_provider=flower.views.auth.GithubLoginHandler", "--oauth2_key=key",
        "--oauth2_secret=hidden", "--oauth2_redirect_uri=http://localhost/login", "--cookie_secret=test",
    )  # fmt: skip
    with flower(project, *options) as anybody:

        def status(address: str) -> int:
            signed = create_signed_value("test", "user", address).decode()
            return anybody.get("/workflows", Cookie=f"user={signed}").status

        assert status("ada@example.com") == 200
        for address in ("attacker@example.com.evil.org", "attacker@examplexcom", "x@evil.org\nada@example.com",
                        "ada@example.com\n", "@evil.org@example.com ", "ada@evil.org"):  # fmt: skip
            assert not authenticate(".*@example.com", address)
            assert status(address) == 403, address
    for pattern in (".*", "*", ".*@*", ".*@example.*", "(.*)@(.*)"):
        done = project.call("flower", f"--auth={pattern}", "--auth_provider=x", "--port", "0")
        assert done.returncode == 2, pattern


def test_what_flower_keeps_is_for_this_user_whatever_the_umask(project: Project, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with flower(project, "--persistent=True", f"--db={tmp_path / 'tasks'}"):
            pass  # it writes when it ends
    finally:
        os.umask(before)
    kept = list(tmp_path.iterdir())
    assert kept
    assert [path.name for path in kept if path.stat().st_mode & 0o077] == []


@pytest.fixture
def narrow(tmp_path: Path) -> Iterator[tuple[Browser, int, Path]]:
    """A Flower with room for few open files: a stranger's browser, its process, and what it logs."""
    own, log = Project(tmp_path), tmp_path / "flower.log"
    try:
        with log.open("wb") as stream:
            process = own.start("flower", "--port", "0", stderr=stream)
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (256, 256))
        assert process.stdout
        browser = Browser(process.stdout.readline().strip())
        wait_until(lambda: answers(browser), what="Flower", timeout_s=30)
        yield browser, process.pid, log
    finally:
        own.close()


def answers(browser: Browser) -> bool:
    try:
        return browser.get("/healthcheck").status == 403
    except OSError:
        return False


def connections(browser: Browser, count: int) -> list[socket.socket]:
    parts = urlsplit(browser.link)
    return [socket.create_connection((str(parts.hostname), int(parts.port or 0)), timeout=5) for _ in range(count)]


def test_strangers_who_only_connect_are_turned_away(narrow: tuple[Browser, int, Path]) -> None:
    browser, pid, log = narrow
    idle = connections(browser, 400)
    wait_until(lambda: any(_closed(one) for one in idle), what="connections to be closed", timeout_s=10)
    assert len(os.listdir(f"/proc/{pid}/fd")) < 200
    for one in idle:
        one.close()
    wait_until(lambda: answers(browser), what="an answer to the next one", timeout_s=10)
    assert log.stat().st_size < 10_000, log.read_text()[:2000]


def test_what_strangers_send_is_not_kept(narrow: tuple[Browser, int, Path]) -> None:
    browser, pid, _ = narrow
    before = resident_bytes(pid)
    size = 7 << 20
    host = urlsplit(browser.link).netloc
    head = f"POST /workflows/api/runs HTTP/1.1\r\nHost: {host}\r\nContent-Length: {size}\r\n\r\n".encode()
    with ExitStack() as held:
        for one in map(held.enter_context, connections(browser, 20)):
            one.sendall(head)
            assert one.recv(100).startswith(b"HTTP/1.1 403"), "answered without the body"
            with suppress(ConnectionError):
                one.sendall(b"x" * (size - 1))
        assert resident_bytes(pid) - before < 30 * MIB
        huge = held.enter_context(connections(browser, 1)[0])
        huge.sendall(head.replace(str(size).encode(), b"999999999"))
        assert huge.recv(100).startswith(b"HTTP/1.1 403")


def _closed(connection: socket.socket) -> bool:
    connection.settimeout(0.01)
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("origin", ["http://[", "http://[x]", "//", "http://evil.example:x"])
def test_an_origin_that_is_no_address_is_another_site(stranger: Browser, inside: Browser, origin: str) -> None:
    for browser in (stranger, inside):
        reply = browser.get("/workflows", Origin=origin)
        assert (reply.status, reply.text) == (403, "This request comes from another site.\n")


def test_a_path_with_nul_is_no_mistake_of_ours(inside: Browser) -> None:
    for path in ("/static/%00", "/workflows/static/%00.js", "/workflows/api/runs/%00", "/workflows/x%00"):
        assert inside.get(path).status == 400, path
