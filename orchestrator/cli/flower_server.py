"""Where Flower runs, and the link that opens it."""

from __future__ import annotations

import errno
import os
import secrets
import socket

from orchestrator.errors import SettingsInvalid
from orchestrator.settings import Settings

ADDRESS = "127.0.0.1"
USER = "orchestrator"
LINK_FILE = "flower.url"


class FlowerServer:
    """Flower for one command: its port, its token, and the file that holds the link.

    Args:
        port: 0 takes a free one.
        credentials: `user:password` pairs to ask for instead of the token, as Flower's own `--basic-auth`.
    Raises:
        SettingsInvalid: the port is taken.
    """

    def __init__(self, settings: Settings, port: int, credentials: list[str] | None = None) -> None:
        self.settings = settings
        self.port = _free_port(port)
        self.token = None if credentials else secrets.token_urlsafe(32)
        self.credentials = credentials or [f"{USER}:{self.token}"]
        self.file = settings.home.expanduser().resolve() / LINK_FILE

    @property
    def link(self) -> str:
        """What to open in a browser."""
        return f"http://{ADDRESS}:{self.port}/" + (f"?token={self.token}" if self.token else "")

    def serve(self) -> int:
        """Run Flower in this process until SIGTERM or Ctrl-C. Returns the exit code 0."""
        # Flower and Tornado take a third of a second to import, which only the process that becomes Flower pays.
        from orchestrator.cli.flower_door import run_flower

        self._save_link()
        try:
            run_flower(self)
        finally:
            self.file.unlink(missing_ok=True)
        return 0

    def answers(self) -> bool:
        """Whether somebody listens on the port by now."""
        with socket.socket() as probe:
            return probe.connect_ex((ADDRESS, self.port)) == 0

    def _save_link(self) -> None:
        """Keep the link where only this user can read it."""
        self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.file.unlink(missing_ok=True)
        with os.fdopen(os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(self.link + "\n")


def _free_port(port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ADDRESS, port))
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            raise SettingsInvalid(f"port {port} cannot be used ({error.strerror}); --port takes another one") from None
        return int(probe.getsockname()[1])
