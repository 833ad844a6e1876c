"""The process that owns one embedded server. It is run as a script, never imported, and imports almost nothing.

It starts the server, starts it again when it dies, and stops it when the last user has left. The rules of the lock
files are in docs/decisions/0004-embedded-server.md; `embedded.py` is the users' side of them.
"""

import _thread
import fcntl
import os
import sys
import time

STOP_S = 10.0  # a server that does not follow SIGTERM for so long is killed
ORPHAN_S = 5.0  # the same for a server whose guard was killed
LOCK_S = 0.5  # users test guard.lock for microseconds; longer means that another guard holds it
LONGEST_PAUSE_S = 5.0  # between two starts of a server that dies again and again
STEADY_S = 10.0  # a server that lived so long may be started again without a pause
SIGKILL, SIGTERM = 9, 15  # the module signal would cost a third of the start-up time
ANOTHER_GUARD = 3  # exit code
SYNC_ALWAYS = "sync.always"  # a file that is there while a user wants every write synced

Command = list[str]


class Server:
    """The child of this guard; `lock` keeps its start and the decision to stop it apart."""

    def __init__(self, guard_lock: int, socket_path: str, command: Command) -> None:
        self.guard_lock = guard_lock
        self.socket_path = socket_path
        self.command = command
        self.pid = 0
        self.stopping = False
        self.lock = _thread.allocate_lock()

    def start(self) -> bool:
        """Start the child unless it is to stop. The child keeps `server.lock` held as long as it lives."""
        with self.lock:
            if self.stopping:
                return False
            held = take_over_from_orphan()
            self.announce()
            guard_pid = os.getpid()
            self.pid = os.fork()
            if self.pid == 0:
                become_server(self.command, held, guard_pid)
            os.close(held)
            return True

    def announce(self) -> None:
        """Tell users who guards and where to connect: not before an orphan is gone, which would answer them too."""
        os.pwrite(self.guard_lock, b"%d\n%s\n" % (os.getpid(), os.fsencode(self.socket_path)), 0)

    def wait(self) -> int:
        """Block until the child has ended; its exit code, negative for a signal."""
        _, status = os.waitpid(self.pid, 0)
        with self.lock:
            self.pid = 0
        return os.waitstatus_to_exitcode(status)

    def stop_after_last_user(self) -> None:
        """Block until nobody shares `users.lock`, then stop the child. Who comes now waits until this guard is gone."""
        users = os.open("users.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(users, fcntl.LOCK_EX)
        with self.lock:
            self.stopping = True
            if self.pid and not ask_to_shut_down(self.socket_path):
                send(b"%d" % self.pid, SIGTERM)
        time.sleep(STOP_S)
        with self.lock:
            if self.pid:
                send(b"%d" % self.pid, SIGKILL)


def ask_to_shut_down(socket_path: str) -> bool:
    """Send SHUTDOWN, which works at once; the server looks for a SIGTERM only every 100 ms."""
    import socket  # here, because start-up does not need it

    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1)
        try:
            connection.connect(socket_path)
            connection.sendall(b"SHUTDOWN\r\n")
            return connection.recv(64) == b""  # it closes the connection; an answer would be a refusal
        except OSError:
            return False


def take_over_from_orphan() -> int:
    """Lock `server.lock`, stopping first a server whose own guard was killed. Returns the descriptor."""
    held = os.open("server.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    for signal in (SIGTERM, SIGKILL):
        if lock_within(held, ORPHAN_S, signal):
            os.ftruncate(held, 0)
            return held
    say("the server of an earlier guard does not end")
    os._exit(1)


def lock_within(held: int, seconds: float, signal: int = 0) -> bool:
    """Take the lock, after sending the signal to the process named in the file when somebody else holds it."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
        if signal:
            send(os.pread(held, 32, 0), signal)
            signal = 0
        time.sleep(0.002)


def send(pid: bytes, signal: int) -> None:
    try:
        os.kill(int(pid), signal)
    except (ValueError, ProcessLookupError):
        pass  # not written yet, or dead: then a child of it, which rewrites the data, still holds the lock


def become_server(command: Command, held: int, guard_pid: int) -> None:
    """Runs in the forked child: name itself in `server.lock`, tie itself to the guard, become the server."""
    try:
        os.pwrite(held, b"%d" % os.getpid(), 0)
        os.set_inheritable(held, True)
        die_with_parent()
        if os.getppid() == guard_pid:
            always = ["--appendfsync", "always"] if os.path.exists(SYNC_ALWAYS) else []  # the last one counts
            os.execv(command[0], [*command, *always])
    except OSError as error:
        say(f"cannot start {command[0]}: {error}")
    os._exit(1)


def die_with_parent() -> None:
    """Ask Linux for a SIGTERM when the guard dies. Elsewhere the next guard finds the orphan by its lock."""
    if sys.platform == "linux":
        import ctypes  # here, because its import costs as much as the rest of the start-up

        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, SIGTERM, 0, 0, 0)


def say(text: str) -> None:
    os.write(2, f"guard {os.getpid()}: {text}\n".encode())


def keep_running(server: Server) -> None:
    """Start the server again whenever it dies, with growing pauses, until the last user has left."""
    pause_s = 0.0
    while True:
        began = time.monotonic()
        if not server.start():
            return
        code = server.wait()
        lived_s = time.monotonic() - began
        if server.stopping:
            return
        if code > 0 and lived_s < 1:
            os._exit(1)  # it refuses its settings or its data; the users report the last line of the log, which is its
        say(f"the server ended with {code} after {lived_s:.1f} s")
        if lived_s > STEADY_S:
            pause_s = 0.0
        time.sleep(pause_s)
        pause_s = min(max(pause_s * 2, 0.05), LONGEST_PAUSE_S)


def detach() -> None:
    """Leave the starter's process tree, so that nobody has to reap this process. Locks pass to the forked half."""
    if os.fork():
        os._exit(0)


def main(socket_path: str, *command: str) -> None:
    """Guard one server in the working directory, which is the state folder."""
    os.umask(0o077)
    guard = os.open("guard.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if not lock_within(guard, LOCK_S):
        os._exit(ANOTHER_GUARD)
    os.ftruncate(guard, 0)
    detach()
    server = Server(guard, socket_path, list(command))
    _thread.start_new_thread(server.stop_after_last_user, ())
    keep_running(server)
    for left_over in (socket_path, SYNC_ALWAYS):
        try:
            os.unlink(left_over)
        except FileNotFoundError:
            pass
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
