"""A server as `doctor --harden` sets it up, and commands under its accounts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import redis

from orchestrator.cli.hardening import write_accounts
from orchestrator.settings import Settings
from orchestrator.store.accounts import user_of
from tests.faults.servers import Kind, Server


class Hardened:
    """A server with exactly the files of `doctor --harden`, its functions loaded by the admin."""

    def __init__(self, folder: Path, kind: Kind) -> None:
        write_accounts(Settings(), folder / "accounts")
        lines = (folder / "accounts" / "passwords").read_text().splitlines()
        self.passwords = dict(line.split() for line in lines)
        self.server = Server(folder / "server", kind=kind, tcp=True, include=str(folder / "accounts" / "server.conf"))

    def url(self, role: str) -> str:
        user = user_of(role)
        return f"redis://{user}:{self.passwords[user]}@127.0.0.1:{self.server.port}/0"

    def client(self, role: str) -> redis.Redis:
        return redis.Redis.from_url(self.url(role), decode_responses=True)

    def answers(self) -> bool:
        try:
            with self.client("admin") as admin:
                return bool(admin.ping())
        except redis.ConnectionError:
            return False

    def denied(self) -> set[tuple[str, str]]:
        """What was refused so far: (user, command or key)."""
        with self.client("admin") as admin:
            return {(entry["username"], entry["object"]) for entry in admin.acl_log(128)}


def command(*words: str, url: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ORCHESTRATOR_URL": url, "ORCHESTRATOR_DURABILITY": "always"}
    return subprocess.run(
        [sys.executable, "-m", "orchestrator", *words], cwd=folder, env=environment,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
