"""Where Flower runs, who may open it, and the link that does. Imports neither Flower nor Tornado."""

from __future__ import annotations

import errno
import os
import socket
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from orchestrator.errors import SettingsInvalid
from orchestrator.hosts import is_loopback
from orchestrator.settings import Settings
from orchestrator.store.embedded import state_folder
from orchestrator.web.keyring import Keyring, new_token

LOOPBACK = "127.0.0.1"
LINK_FILE = "flower.url"


@dataclass(frozen=True, slots=True)
class Access:
    """Who may open Flower, and what may be done there.

    Args:
        credentials: `user:password` pairs to ask for, as Flower's own `--basic_auth`.
        oauth: Flower's own login with another site asks who it is.
        hosts: names under which it may be opened besides those of this machine.
        read_only: nothing may be changed, on any page.
        control: Flower's own pages and API may stop workers, revoke tasks and send new ones.
    """

    credentials: tuple[str, ...] = ()
    oauth: bool = False
    hosts: tuple[str, ...] = ()
    read_only: bool = False
    control: bool = False

    @property
    def login(self) -> bool:
        """Whether people log in, so that no link has to open it."""
        return bool(self.credentials) or self.oauth


class FlowerServer:
    """Flower for one command: its address, its port, and the file that holds the link.

    Args:
        port: 0 takes a free one.
        address: one that others reach needs a login.
        prefix: what its paths start with.
        scheme: https where Flower has a certificate.
    Raises:
        SettingsInvalid: the port is taken, or everybody could open it.
    """

    def __init__(
        self, settings: Settings, port: int, access: Access = Access(), *, address: str = LOOPBACK, prefix: str = "",
        scheme: str = "http",
    ) -> None:  # fmt: skip
        if not (is_loopback(address) or access.login):
            message = f"--address {address} opens Flower to other machines: ask for a login too, with --basic-auth"
            raise SettingsInvalid(message)
        self.settings = settings
        self.access = access
        self.address = address
        self.port = _free_port(address, port)
        self.file = settings.home.expanduser().resolve() / LINK_FILE
        host = LOOPBACK if address in ("0.0.0.0", "::") else address
        path = f"/{prefix.strip('/')}/" if prefix.strip("/") else "/"
        self.site = f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}{path}"
        self._token = None if access.login else new_token()

    @property
    def link(self) -> str:
        """What to open in a browser, as it was at first."""
        return self._link(self._token)

    def announce(self) -> None:
        """Keep the link where only this user can read it. Before anybody is told, and before a process is forked.

        One without a token is no secret, and is not kept.
        """
        if self._token is not None:
            self._write(self.link, *self._links_of_others())

    def withdraw(self) -> None:
        """Remove the link, and the file unless another Flower of this folder has one in it."""
        if self._token is None:
            return
        if links := self._links_of_others():
            self._write(*links)
        else:
            self.file.unlink(missing_ok=True)

    def serve(self) -> int:
        """Run Flower in this process until SIGTERM or Ctrl-C. Returns the exit code 0."""
        # Flower and Tornado take a third of a second to import, which only the process that becomes Flower pays.
        from orchestrator.web.flower_app import run_flower

        try:
            run_flower(self)
        finally:
            self.withdraw()
        return 0

    def keyring(self) -> Keyring | None:
        """For the process that is Flower: the token of the file, which it had also before it was killed, or a new one.

        None: there is a login.
        """
        if self._token is None:
            return None
        start = self._link("")
        kept = next((link.removeprefix(start) for link in self._links() if link.startswith(start)), "")
        keyring = Keyring(kept or new_token())
        self.renew(keyring)
        return keyring

    def renew(self, keyring: Keyring) -> None:
        """The link of the token of now takes the place of the one in the file."""
        self._write(self._link(keyring.token), *self._links_of_others())

    def answers(self) -> bool:
        """Whether somebody listens on the port by now."""
        return _listens(urlsplit(self.site))

    def _link(self, token: str | None) -> str:
        return self.site + ("" if token is None else f"?token={token}")

    def _links(self) -> list[str]:
        try:
            return self.file.read_text().split()
        except (OSError, UnicodeDecodeError):
            return []

    def _links_of_others(self) -> list[str]:
        """Of those that run: one that was killed leaves its link behind."""
        return [link for link in self._links() if not link.startswith(self.site) and _listens(urlsplit(link))]

    def _write(self, *links: str) -> None:
        state_folder(self.file.parent)
        fresh = self.file.with_name(f"{LINK_FILE}.{os.getpid()}")
        fresh.unlink(missing_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write("".join(f"{link}\n" for link in links))
        fresh.replace(self.file)  # whoever reads it sees the old link or the new one


def _socket(address: str) -> socket.socket:
    return socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)


def _listens(site: SplitResult) -> bool:
    host = site.hostname or ""
    with _socket(host) as probe:
        return probe.connect_ex((host, site.port or 0)) == 0


def _free_port(address: str, port: int) -> int:
    with _socket(address) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
                raise SettingsInvalid(f"--address {address} is none of this machine") from None
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            raise SettingsInvalid(f"port {port} cannot be used ({error.strerror}); --port takes another one") from None
        return int(probe.getsockname()[1])
