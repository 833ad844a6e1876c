"""`orchestrator doctor --harden`: files that give a server accounts with no more rights than each needs."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from orchestrator.errors import SettingsInvalid
from orchestrator.settings import Settings
from orchestrator.store.accounts import ROLES, Place, acl_lines, user_of
from orchestrator.store.connection import database_of

#: Of Redis 7 and Valkey 8; without the ACL file, whose path is that of the folder.
_SERVER = """\
# For the end of redis.conf or valkey.conf; written by `orchestrator doctor --harden`.
aclfile "{folder}/users.acl"
bind 127.0.0.1 -::1
protected-mode yes
appendonly yes
appendfsync always
maxmemory-policy noeviction
enable-protected-configs no
enable-debug-command no
enable-module-command no

# For other machines: name the address after `bind`, and talk TLS only, with certificates on both sides.
# port 0
# tls-port 6380
# tls-cert-file /etc/orchestrator/server.pem
# tls-key-file /etc/orchestrator/server.key
# tls-ca-cert-file /etc/orchestrator/ca.pem
# tls-auth-clients yes
# tls-protocols "TLSv1.2 TLSv1.3"
"""


def write_accounts(settings: Settings, folder: Path) -> list[Path]:
    """Write `users.acl`, `server.conf` and `passwords` into a folder, all for this user only. Nothing is overwritten.

    Raises:
        SettingsInvalid: one of them is there already, or the folder cannot be written.
    """
    folder = folder.expanduser().resolve()
    passwords = {role: secrets.token_urlsafe(32) for role in ROLES}
    place = Place(settings.prefix, database_of(settings.url) if settings.url else 0)
    texts = {
        "users.acl": "\n".join(acl_lines(place, passwords)),
        "server.conf": _SERVER.format(folder=_quoted(str(folder))).rstrip(),
        "passwords": "\n".join(f"{user_of(role)} {password}" for role, password in passwords.items()),
    }
    present = [str(folder / name) for name in texts if (folder / name).exists()]
    if present:
        raise SettingsInvalid(f"{', '.join(present)}: there already; name another folder with --output")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, text in texts.items():
            with os.fdopen(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(f"{text}\n")
    except OSError as error:
        raise SettingsInvalid(f"{error.filename}: cannot be written: {error.strerror}") from error
    return [folder / name for name in texts]


def _quoted(text: str) -> str:
    """As the server reads it between double quotes."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
