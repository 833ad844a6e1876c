"""A RabbitMQ of one's own: Debian's `rabbitmq-server` with all it writes in one folder, in one process group.

Its name server `epmd` is started here too, in the foreground and on a port of its own: otherwise Erlang would start
one in the background that stays for ever.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import kombu

from tests.faults.servers import free_port
from tests.waiting import wait_until

SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")  # the one in /usr/sbin changes the user and the folder
START_S = 60.0


def installed() -> bool:
    """Whether there is a RabbitMQ to start."""
    return SERVER.exists() and shutil.which("epmd") is not None


class Rabbit:
    """One server; the same ports and the same data each time it is started.

    Args:
        host: the address it listens on.
        config: lines of its `rabbitmq.conf`.
        advanced: settings that have no line there, as Erlang: `{channel_tick_interval, 1000}`.
        worlds: virtual hosts `1` to this number, each with queues of its own; `url_of` names them.
    """

    def __init__(
        self, folder: Path, *, host: str = "127.0.0.1", config: str = "", advanced: str = "", worlds: int = 0
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        port, node_port, self._names_port = free_port(), free_port(), free_port()
        self.address = f"amqp://guest:guest@{host}:{port}/"
        self.url = self.url_of("/")
        self._processes: list[subprocess.Popen[bytes]] = []
        definitions = folder / "definitions.json"
        definitions.write_text(json.dumps(_definitions(["/", *map(str, range(1, worlds + 1))])))
        (folder / "rabbitmq.conf").write_text(
            f"loopback_users = none\nload_definitions = {definitions}\n{config}\n"
        )
        (folder / "plugins").write_text("[].\n")
        (folder / "advanced.config").write_text(f"[{{rabbit, [{advanced}]}}].\n")
        self._environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "LANG": "C.UTF-8"} | {
            f"RABBITMQ_{name}": str(value)
            for name, value in {
                "NODENAME": f"test{port}@localhost",
                "NODE_IP_ADDRESS": host,
                "NODE_PORT": port,
                "DIST_PORT": node_port,
                "MNESIA_BASE": folder / "data",
                "LOG_BASE": folder / "log",
                "LOGS": "-",
                "PID_FILE": folder / "pid",
                "CONFIG_FILE": folder / "rabbitmq.conf",
                "ADVANCED_CONFIG_FILE": folder / "advanced.config",
                "CONF_ENV_FILE": "/dev/null",
                "ENABLED_PLUGINS_FILE": folder / "plugins",
            }.items()
        }
        self._environment |= {"ERL_EPMD_PORT": str(self._names_port), "ERL_EPMD_ADDRESS": "127.0.0.1"}

    def url_of(self, world: object) -> str:
        """The URL of a virtual host."""
        return f"{self.address}{world}"

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        self._spawn("epmd", "-port", str(self._names_port), "-address", "127.0.0.1")
        self._spawn(str(SERVER))
        wait_until(self.answers, what=f"RabbitMQ: {self.folder / 'server.log'}", timeout_s=START_S, every_s=0.2)

    def _spawn(self, *words: str) -> None:
        with (self.folder / "server.log").open("ab") as log:
            self._processes.append(
                subprocess.Popen(
                    words, cwd=self.folder, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                    start_new_session=True,
                )
            )  # fmt: skip

    def answers(self) -> bool:
        """Whether a client gets in."""
        assert all(process.poll() is None for process in self._processes), f"it has ended: {self.folder / 'server.log'}"
        try:
            with kombu.Connection(self.url, connect_timeout=2) as connection:
                connection.connect()
        except (OSError, kombu.exceptions.KombuError):
            return False
        return True

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all its processes: SIGSTOP freezes it, SIGCONT lets it go on."""
        for process in self._processes:
            os.killpg(process.pid, number)

    def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        for process in self._processes:
            process.wait(10)
        self._processes = []


def _definitions(worlds: list[str]) -> dict[str, object]:
    rights = {"user": "guest", "configure": ".*", "write": ".*", "read": ".*"}
    return {
        "users": [{"name": "guest", "password": "guest", "tags": "administrator"}],
        "vhosts": [{"name": world} for world in worlds],
        "permissions": [{"vhost": world, **rights} for world in worlds],
    }


@contextmanager
def rabbit(folder: Path, **options: Any) -> Iterator[Rabbit]:
    """A RabbitMQ for the time of a `with`."""
    server = Rabbit(folder, **options)
    try:
        server.start()
        yield server
    finally:
        server.kill()
