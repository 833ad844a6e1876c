"""Running a program within limits: no shell, a session of its own, and nothing left of it afterwards.

Knows nothing of agents' declarations; `shell` does.
"""

from __future__ import annotations

import errno
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any

from orchestrator import Fatal
from workers.groups import held
from workers.guards import guarded

_TICK_S = 0.1  # how often limits are looked at while nothing comes
_GRACE_S = 2.0  # between SIGTERM and SIGKILL
_MEASURE_S = 0.25  # how often the group is looked at
_LOOK_AGAIN_S = 2.0  # how often `cancelled` is asked: it may ask a server
_CHUNK_BYTES = 65_536
_TAIL_BYTES = 8_192  # kept of standard error
_HOPELESS = (errno.ENOENT, errno.EACCES, errno.ENOTDIR, errno.ENOEXEC)


class ProgramStopped(Exception):
    """The program was ended because its attempt does not count any more."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a program may run, in seconds, how many bytes it may print, and what its processes together may hold.

    The last two are kept on Linux only. The kernel's own limits would not do: they count what else the user runs, let
    root go on, and take address space for memory, of which many languages reserve far more than they use.
    """

    time_s: float
    output_bytes: int
    memory_bytes: int
    processes: int


@dataclass(frozen=True, slots=True)
class Ended:
    """A program that ended by itself: exit code (negative: the signal), what it printed, the end of its complaints."""

    code: int
    output: bytes
    complaints: bytes


def run_program(
    argv: Sequence[str],
    *,
    feed: bytes,
    env: Mapping[str, str],
    cwd: str,
    limits: Limits,
    cancelled: Callable[[], bool],
) -> Ended:
    """Run a program to its end, with `feed` on its standard input.

    However this function is left, by an interrupt or a kill too, the program's whole process group is ended; so is
    what the program left running in the background. Only what moved to a session of its own escapes.

    Args:
        env: the whole environment of the program, its PATH is where it is looked for.
        cancelled: asked every few seconds; once true, the program is ended.
    Raises:
        Fatal: it cannot be started, or printed or held too much. TimeoutError: it took too long.
        ProgramStopped: cancelled.
    """
    process = _start(argv, env, cwd)
    try:
        conversation = _Conversation(process, argv[0], feed, limits, cancelled)
        with guarded(process.pid):
            conversation.hold()
        return Ended(process.returncode, bytes(conversation.output), bytes(conversation.complaints))
    finally:
        _end(process)


def _start(argv: Sequence[str], env: Mapping[str, str], cwd: str) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    try:
        return subprocess.Popen(
            argv, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0, cwd=cwd, env=env, start_new_session=True
        )
    except OSError as error:
        if error.errno not in _HOPELESS:  # too many processes, say: another attempt may have more luck
            raise
        what = f"the folder {cwd}" if error.filename == cwd else "it"
        reason = f"{what} is not there" if error.errno == errno.ENOENT else f"{what}: {error.strerror}"
        raise Fatal(f"the program {argv[0]} cannot be started: {reason}") from None


class _Conversation:
    """Feeding a program and listening to it at the same time, so that neither waits for the other for ever."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        name: str,
        feed: bytes,
        limits: Limits,
        cancelled: Callable[[], bool],
    ) -> None:
        self.output = bytearray()
        self.complaints = bytearray()
        self._process = process
        self._name = name
        self._feed = memoryview(feed)
        self._limits = limits
        self._cancelled = cancelled
        self._until = time.monotonic() + limits.time_s
        self._measure_again = time.monotonic() + _TICK_S
        self._look_again = time.monotonic() + _LOOK_AGAIN_S

    def hold(self) -> None:
        """Until the program has ended. Raises as `run_program` does."""
        process = self._process
        with selectors.DefaultSelector() as selector:
            self._listen(selector, process.stdin, selectors.EVENT_WRITE, self._write)
            self._listen(selector, process.stdout, selectors.EVENT_READ, self._read)
            self._listen(selector, process.stderr, selectors.EVENT_READ, self._read_complaint)
            while selector.get_map():
                # What it left in the background may keep the pipes open. What it wrote itself is in them by now.
                ended = process.poll() is not None
                ready = selector.select(0 if ended else _TICK_S)
                for key, _ in ready:
                    if not key.data(key.fd):
                        selector.unregister(key.fd)
                if ended and not ready:
                    break
                self._check()
        while process.poll() is None:  # it closed its pipes and goes on
            self._check()
            with suppress(subprocess.TimeoutExpired):
                process.wait(_TICK_S)

    @staticmethod
    def _listen(
        selector: selectors.BaseSelector, stream: IO[bytes] | None, event: int, act: Callable[[int], bool]
    ) -> None:
        assert stream is not None
        os.set_blocking(stream.fileno(), False)
        selector.register(stream.fileno(), event, act)

    def _write(self, descriptor: int) -> bool:
        try:
            self._feed = self._feed[os.write(descriptor, self._feed[:_CHUNK_BYTES]) :]
        except BrokenPipeError:  # it does not want to know
            self._feed = self._feed[:0]
        if not self._feed:
            _close(self._process.stdin)
        return bool(self._feed)

    def _read(self, descriptor: int) -> bool:
        chunk = os.read(descriptor, _CHUNK_BYTES)
        self.output += chunk
        if len(self.output) > self._limits.output_bytes:
            raise Fatal(f"{self._name} printed more than {self._limits.output_bytes:,} bytes and was ended")
        return bool(chunk)

    def _read_complaint(self, descriptor: int) -> bool:
        chunk = os.read(descriptor, _CHUNK_BYTES)
        self.complaints = (self.complaints + chunk)[-_TAIL_BYTES:]
        return bool(chunk)

    def _check(self) -> None:
        now = time.monotonic()
        if now >= self._until:
            raise TimeoutError(f"{self._name} took longer than {self._limits.time_s:g} s and was ended")
        if now >= self._measure_again:
            self._measure_again = now + _MEASURE_S
            self._measure()
        if now >= self._look_again:
            # A worker of threads cannot interrupt a handler, so that the handler has to ask.
            self._look_again = now + _LOOK_AGAIN_S
            if self._cancelled():
                raise ProgramStopped(f"{self._name} was ended: its attempt does not count any more")


    def _measure(self) -> None:
        count, memory = held(self._process.pid)
        if count > self._limits.processes:
            raise Fatal(f"{self._name} started more than {self._limits.processes:,} processes and was ended")
        if memory > self._limits.memory_bytes:
            raise Fatal(f"{self._name} held more than {self._limits.memory_bytes:,} bytes of memory and was ended")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End what is left of the group: SIGTERM, a moment to clean up, SIGKILL. At once if the leader ended by itself."""
    try:
        if process.poll() is None and _signal(process, signal.SIGTERM):
            until = time.monotonic() + _GRACE_S
            while time.monotonic() < until and (process.poll() is None or _signal(process, 0)):
                time.sleep(_TICK_S / 10)
    finally:
        _signal(process, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):  # nobody may kill a program that runs as another user
            process.wait(_GRACE_S)
        for stream in (process.stdin, process.stdout, process.stderr):
            _close(stream)


def _signal(process: subprocess.Popen[bytes], number: int) -> bool:
    """Whether anything of the group was there to get it."""
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):  # the second is what macOS says of a group of zombies
        return False
    return True


def _close(stream: IO[Any] | None) -> None:
    if stream is not None:
        with suppress(BrokenPipeError):
            stream.close()
