"""The private server of a state folder: who starts it, who stops it, and what a kill -9 changes."""

from __future__ import annotations

import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import redis

from orchestrator.errors import ServerNotStarted, StoreUnavailable
from orchestrator.store import embedded, server_process
from tests.waiting import wait_until

USER = """
import sys
from pathlib import Path
from orchestrator.store import embedded, server_process
server = embedded.acquire(Path(sys.argv[1]))
print(embedded.status(Path(sys.argv[1])).pid, flush=True)
sys.stdin.read()
"""


def ask(server: embedded.EmbeddedServer, *command: str) -> object:
    with redis.Redis(unix_socket_path=str(server.socket_path), decode_responses=True) as client:
        return client.execute_command(*command)


def kill(pid: int | None) -> None:
    assert pid
    os.kill(pid, signal.SIGKILL)


def stopped(home: Path) -> bool:
    return not any(server_process.is_held(home / name) for name in ("server.lock", "guard.lock"))


User = Callable[[], subprocess.Popen[str]]


@pytest.fixture
def user(home: Path) -> Iterator[User]:
    """Start another process that uses the server of the state folder; its first line is the server's pid."""
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        arguments = [sys.executable, "-c", USER, str(home)]
        started.append(subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_folder_gets_a_private_server_that_keeps_its_data(home: Path) -> None:
    with embedded.acquire(home) as server:
        ask(server, "SET", "a", "1")
        assert stat.S_IMODE(home.stat().st_mode) == 0o700
        assert stat.S_IMODE(server.socket_path.stat().st_mode) == 0o700
        assert ask(server, "CONFIG", "GET", "port") == {"port": "0"}
        assert ask(server, "CONFIG", "GET", "appendfsync") == {"appendfsync": "everysec"}
        status = embedded.status(home)
        assert status.running
        assert status.socket_path == str(server.socket_path)
    wait_until(lambda: stopped(home), what="the server stops after its last user", timeout_s=10)
    assert not server.socket_path.exists()
    with embedded.acquire(home) as server:
        assert ask(server, "GET", "a") == "1"


def test_acquiring_twice_in_a_process_is_one_membership(home: Path) -> None:
    first, second = embedded.acquire(home), embedded.acquire(home)
    first.release()
    first.release()
    assert ask(second, "PING")
    second.release()
    wait_until(lambda: stopped(home), what="the server stops after its last user", timeout_s=10)


def test_many_processes_that_come_at_once_share_one_server(home: Path, user: User) -> None:
    processes = [user() for _ in range(6)]
    pids = {process.stdout.readline() for process in processes if process.stdout}
    assert len(pids) == 1
    for process in processes[1:]:
        process.kill()
    assert embedded.status(home).running
    processes[0].kill()
    wait_until(lambda: stopped(home), what="the server stops after kill -9 of all its users", timeout_s=10)


@pytest.mark.parametrize("victims", ["server", "guard", "server and guard"])
def test_any_command_starts_a_killed_server_again(home: Path, victims: str) -> None:
    with embedded.acquire(home) as server:
        ask(server, "SET", "a", "1")
        before = embedded.status(home)
        if "guard" in victims:
            kill(before.guard_pid)
        if "server" in victims:
            kill(before.pid)
        wait_until(lambda: embedded.status(home).pid != before.pid, what="it dies", timeout_s=10)
        with embedded.acquire(home) as again:
            assert ask(again, "GET", "a") == "1"
            assert embedded.status(home).pid != before.pid
    wait_until(lambda: stopped(home), what="the server stops after its last user", timeout_s=10)


def test_the_guard_brings_a_killed_server_back_by_itself(home: Path) -> None:
    with embedded.acquire(home):
        before = embedded.status(home)
        for _ in range(2):
            kill(embedded.status(home).pid)
            wait_until(lambda: not embedded.status(home).running, what="the server is gone", timeout_s=10)
            wait_until(lambda: embedded.status(home).running, what="the server is back", timeout_s=10)
        assert embedded.status(home).guard_pid == before.guard_pid


def test_a_user_who_comes_while_the_server_stops_gets_a_new_one(home: Path) -> None:
    for number in range(8):
        with embedded.acquire(home) as server:
            assert ask(server, "INCR", "n") == number + 1
        if number % 2:
            time.sleep(number / 500)  # so that the next user meets the guard at different moments of its end


def test_a_forked_child_shares_the_membership(home: Path) -> None:
    server = embedded.acquire(home)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    os.close(reader)
    server.release()
    assert ask(server, "PING")
    os.close(writer)
    os.waitpid(child, 0)
    wait_until(lambda: stopped(home), what="the server stops after the child", timeout_s=10)


def test_a_cut_end_of_the_append_only_file_does_not_stop_the_server(home: Path) -> None:
    with embedded.acquire(home) as server:
        ask(server, "SET", "a", "1")
    wait_until(lambda: stopped(home), what="the server stops", timeout_s=10)
    (aof,) = (home / "data" / "appendonlydir").glob("*.incr.aof")
    with aof.open("ab") as file:
        file.write(b"*3\r\n$3\r\nSET\r\n$1\r\nb")
    with embedded.acquire(home) as server:
        assert ask(server, "GET", "a") == "1"


def test_data_that_cannot_be_read_is_reported_with_what_to_do(home: Path) -> None:
    with embedded.acquire(home) as server:
        ask(server, "SET", "a", "1")
    wait_until(lambda: stopped(home), what="the server stops", timeout_s=10)
    (aof,) = (home / "data" / "appendonlydir").glob("*.incr.aof")
    with aof.open("ab") as file:
        file.write(b"this is no append only file\r\n" * 9)
    with pytest.raises(ServerNotStarted) as refused:
        embedded.acquire(home)
    said = refused.value.message
    assert f"its append-only file {aof.name} is damaged" in said
    assert "\n" not in said
    command = re.fullmatch(r".* with: \((.*)\)", said)
    assert command
    subprocess.run(["bash", "-c", command[1]], input=b"y\n", capture_output=True, check=True)
    with embedded.acquire(home) as server:
        assert ask(server, "GET", "a") == "1"


def test_who_needs_every_write_synced_gets_it_for_all_until_the_last_user_has_left(home: Path) -> None:
    def synced() -> object:
        return ask(server, "CONFIG", "GET", "appendfsync")

    with embedded.acquire(home) as server:
        assert synced() == {"appendfsync": "everysec"}
        with embedded.acquire(home, "always"):
            assert synced() == {"appendfsync": "always"}
        for victim in ("pid", "guard_pid"):
            status = embedded.status(home)
            kill(getattr(status, victim))
            wait_until(lambda pid=status.pid: embedded.status(home).pid != pid, what="it dies", timeout_s=10)
            embedded.acquire(home).release()
            assert synced() == {"appendfsync": "always"}, "nobody makes it weaker"
    wait_until(lambda: stopped(home), what="the server stops", timeout_s=10)
    with embedded.acquire(home) as server:
        assert synced() == {"appendfsync": "everysec"}


def test_a_socket_that_somebody_deleted_comes_back(home: Path) -> None:
    with embedded.acquire(home) as server:
        server.socket_path.unlink()
        with embedded.acquire(home) as again:
            assert ask(again, "PING")


@pytest.mark.parametrize("name", ["with space", "ünï-☃", "quote'\"%20#?", "x" * 120])
def test_any_path_will_do(tmp_path: Path, name: str) -> None:
    home = tmp_path / name
    with embedded.acquire(home) as server:
        assert ask(server, "PING")
        assert len(os.fsencode(str(server.socket_path))) <= server_process.LONGEST_SOCKET_PATH
        inside = server.socket_path.parent == home
        assert inside or stat.S_IMODE(server.socket_path.parent.stat().st_mode) == 0o700
    wait_until(lambda: stopped(home), what="the server stops", timeout_s=10)
    if not inside:
        server.socket_path.parent.rmdir()


def test_a_private_folder_that_others_can_enter_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "t"))
    (tmp_path / "t").mkdir()
    monkeypatch.setattr(server_process, "LONGEST_SOCKET_PATH", 1)
    home = tmp_path / "home"
    home.mkdir()
    path = Path(server_process.choose_socket_path(home))
    assert path.parent.parent == tmp_path / "t"
    path.parent.chmod(0o755)
    with pytest.raises(ServerNotStarted, match="only this user can enter"):
        embedded.acquire(home)


def test_a_state_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ServerNotStarted, match="cannot be the state folder: Not a directory"):
        embedded.acquire(tmp_path / "file" / "home")


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_read_only_state_folder_is_a_clear_error(home: Path) -> None:
    home.mkdir(mode=0o500)
    with pytest.raises(StoreUnavailable, match=r"users\.lock: Permission denied"):
        embedded.acquire(home)


def test_a_server_that_hangs_is_an_error_that_names_its_process(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_process, "START_S", 0.3)
    monkeypatch.setattr(server_process, "PING_S", 0.1)
    with embedded.acquire(home):
        pid = embedded.status(home).pid
        assert pid
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(ServerNotStarted, match=rf"does not answer \(pid {pid}\)"):
                embedded.acquire(home)
        finally:
            os.kill(pid, signal.SIGCONT)


def test_status_starts_nothing(home: Path) -> None:
    assert embedded.status(home) == embedded.ServerStatus(False, None, None, None, "")
    assert not home.exists()


def test_a_stale_socket_and_stale_locks_of_dead_processes_do_not_matter(home: Path) -> None:
    home.mkdir()
    for name in ("users.lock", "guard.lock", "server.lock", "start.lock"):
        (home / name).write_text("999999\n/nowhere\n")
    with socket.socket(socket.AF_UNIX) as left_over, suppress(OSError):
        left_over.bind(str(home / "server.sock"))
    with embedded.acquire(home) as server:
        assert ask(server, "PING")
