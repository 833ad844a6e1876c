"""Who a process may speak for: the key in its key file. The installation's key, or that of one agent, which follows
from it. Nothing here knows what is signed.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISREG

from orchestrator.errors import SenderMismatch

_LINE = re.compile(r"orchestrator-key-1 (installation|agent ([^\s/*]{1,128})) ([0-9a-f]{64})\n?")
_MOST_BYTES = 1000
_MODE = 0o600


@dataclass(frozen=True, slots=True)
class Key:
    """One key.

    Args:
        agent: whose it is; None: the installation's.
        secret: 32 bytes, which no log and no error shows.
    """

    agent: str | None
    secret: bytes = field(repr=False)

    @classmethod
    def new(cls) -> Key:
        """A new key of an installation."""
        return cls(None, secrets.token_bytes(32))

    def of(self, agent: str) -> Key:
        """The key of an agent. Raises SenderMismatch: this is the key of another one."""
        if self.agent is None:
            return Key(agent, hmac.digest(self.secret, f"agent:{agent}".encode(), "sha256"))
        if self.agent != agent:
            message = f"from: {agent!r} cannot be said with the key of {self.agent!r}; leave the sender out"
            raise SenderMismatch(message, field="from", agent=agent)
        return self

    def sign(self, data: bytes) -> str:
        """HMAC-SHA256, as 64 hexadecimal digits."""
        return hmac.new(self.secret, data, hashlib.sha256).hexdigest()

    @property
    def line(self) -> str:
        """The text of its key file."""
        whose = "installation" if self.agent is None else f"agent {self.agent}"
        return f"orchestrator-key-1 {whose} {self.secret.hex()}"


def read_key(file: Path) -> Key:
    """The key in a file. Raises ValueError, in one line that does not show the key."""
    try:
        with open(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as opened:  # a pipe would wait
            mode = os.fstat(opened.fileno()).st_mode
            raw = opened.read(_MOST_BYTES) if S_ISREG(mode) else b""
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}") from None
    if mode & 0o077:
        raise ValueError(f"others may read {file}; chmod 600 {file}")
    found = _LINE.fullmatch(raw.decode("utf-8", "replace"))
    if found is None:
        raise ValueError(f"{file} holds no key; orchestrator keys makes one")
    return Key(found[2], bytes.fromhex(found[3]))


def write_key(file: Path, key: Key) -> None:
    """Write a key file that only this user may read. Raises FileExistsError: one is never overwritten."""
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE), "w", encoding="utf-8") as opened:
        opened.write(key.line + "\n")
