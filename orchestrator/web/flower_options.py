"""Flower's own options: from `FLOWER_...` variables, `flowerconfig.py` and arguments, read as `celery flower` does."""

from __future__ import annotations

from collections.abc import Sequence

from flower.command import apply_env_options, apply_options, extract_settings, is_flower_option
from flower.options import options
from tornado.options import Error

from orchestrator.errors import SettingsInvalid
from orchestrator.settings import Settings
from orchestrator.web.server import LOOPBACK, Access, FlowerServer

_NOT_HERE = {"port": "--port", "address": "--address", "unix_socket": "--address"}


def configure(
    settings: Settings, port: int, access: Access, *, address: str = LOOPBACK, arguments: Sequence[str] = ()
) -> FlowerServer:
    """The Flower of this process, with its own options set.

    Args:
        access: what was said of it beside Flower's options.
        arguments: Flower's options, such as `--auth=.*@example.com`.
    Raises:
        SettingsInvalid: an option that Flower does not know, a value that it cannot read, or two logins at once.
    """
    _read(arguments)
    if access.credentials:
        options.basic_auth = list(access.credentials)
    credentials, oauth = tuple(options.basic_auth or ()), bool(options.auth)
    if credentials and oauth:
        raise SettingsInvalid("--basic-auth and --auth are two logins; choose one")
    if oauth and not options.auth_provider:
        raise SettingsInvalid("--auth needs --auth_provider too, which names the site that people log in with")
    if any(":" not in pair for pair in credentials):
        raise SettingsInvalid("--basic-auth: write user:password")
    whole = Access(credentials, oauth, access.hosts, access.read_only or options.read_only, access.control)
    return FlowerServer(
        settings, port, whole, address=address, prefix=options.url_prefix or "",
        scheme="https" if options.certfile else "http",
    )  # fmt: skip


def _read(arguments: Sequence[str]) -> None:
    for argument in arguments:
        name = argument.lstrip("-").partition("=")[0].replace("-", "_")
        if name in _NOT_HERE:
            raise SettingsInvalid(f"{argument}: write it as {_NOT_HERE[name]} VALUE, before Flower's own options")
        if not argument.startswith("--") or not is_flower_option(argument):
            raise SettingsInvalid(f"no option {argument}; Flower's own are written as --name=value")
    options.logging = "none"  # Flower would log over our log; --logging=info says that it shall
    try:
        apply_env_options()
        apply_options("orchestrator flower", list(arguments))
        extract_settings()
    except (Error, ValueError, OSError) as error:
        raise SettingsInvalid(f"Flower's options: {error}") from None
    except SystemExit:  # after it has said why
        raise SettingsInvalid("Flower does not start with these options") from None
