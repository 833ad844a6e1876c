"""The private server of a state folder: join it, start it when nobody has, ask how it is.

A user of the server is a process that shares the lock of `users.lock`; the kernel takes the lock back however the
process ends. The server itself is owned by `guard.py`, a tiny process that leaves when the last user has left.
"""

from __future__ import annotations

import fcntl
import os
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import quote

from orchestrator.errors import ServerNotStarted
from orchestrator.settings import Durability
from orchestrator.store.server_process import (
    find_guard,
    last_log_line,
    locked,
    ping,
    running_socket,
    server_pid,
    sync_at_every_write,
)

_memberships: dict[Path, _Membership] = {}
_lock = threading.RLock()


@dataclass
class _Membership:
    """This process's share of `users.lock`; forked children have it too. `handles` counts who asked for it."""

    descriptor: int
    socket_path: str
    handles: int
    lock_file: os.stat_result

    def leave(self) -> None:
        """Close the descriptor, unless somebody else closed it (a daemon closes all) and the number names another file.

        No LOCK_UN: it would take the share of forked children too.
        """
        with suppress(OSError):
            if os.path.samestat(os.fstat(self.descriptor), self.lock_file):
                os.close(self.descriptor)


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
                membership.leave()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def acquire(home: Path, durability: Durability = "everysec") -> EmbeddedServer:
    """Join the server of a state folder, start it if needed, and wait until it answers.

    Args:
        home: the state folder; made with mode 0700 when it is absent.
        durability: what this user needs at least; a server that one user made stronger stays so until the last one
            has left.
    Raises:
        ServerNotStarted: the folder cannot be used or the server does not come up; the message holds its last log line.
    Source: docs/decisions/0004-embedded-server.md.
    """
    folder = state_folder(home)
    with _lock:
        membership = _memberships.get(folder)
        if membership is None or not _same_file(membership.descriptor, folder / "users.lock"):
            handles = membership.handles if membership else 0
            descriptor = _join(folder)
            membership = _Membership(descriptor, "", handles, os.fstat(descriptor))
        try:
            membership.socket_path = running_socket(folder)
            if durability == "always":
                sync_at_every_write(folder, membership.socket_path)
        except BaseException:
            if membership.handles == 0:
                membership.leave()
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
    folder = home.expanduser().resolve()
    guard = find_guard(folder)
    guard_pid, socket_path = guard or (None, None)
    running = bool(socket_path) and ping(str(socket_path)) == "PONG"
    pid = server_pid(folder) if running else None
    return ServerStatus(running, pid, guard_pid or None, socket_path or None, last_log_line(folder))


def state_folder(home: Path) -> Path:
    """The state folder. Where it is absent, it is made, and what is missing above it, with mode 0700 each.

    Raises:
        ServerNotStarted: it cannot be made.
    """
    folder = home.expanduser().resolve()
    try:
        for missing in reversed([path for path in (folder, *folder.parents) if not path.exists()]):
            missing.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise ServerNotStarted(f"{folder} cannot be the state folder: {error.strerror}", url=str(folder)) from error
    return folder


def _join(folder: Path) -> int:
    """Share `users.lock`. A guard that stops its server holds it alone; then this waits until the guard is gone."""
    while True:
        descriptor = locked(folder, "users.lock", fcntl.LOCK_SH)
        if _same_file(descriptor, folder / "users.lock"):
            return descriptor
        os.close(descriptor)  # somebody removed the file meanwhile


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


def _new_lock_after_fork() -> None:
    global _lock
    _lock = threading.RLock()  # another thread of the parent may have held it


os.register_at_fork(after_in_child=_new_lock_after_fork)
