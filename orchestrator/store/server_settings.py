"""How a server is set up, judged: what a crash or a power cut may cost, whether it drops keys, who may write to it.

`doctor` shows every finding; workers do not start on a configured server with one that loses accepted work. Nothing
here changes a setting.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import redis

from orchestrator.errors import ServerTooWeak, StoreUnavailable
from orchestrator.settings import Settings, mask_password
from orchestrator.store.advisories import KNOWN_ON, known_advisories, mended_release
from orchestrator.store.connection import visit

logger = logging.getLogger(__name__)

#: Checks that workers insist on. A power cut is not among them: how much that may cost is the user's choice.
NEEDED = ("cluster", "durability", "eviction", "access")
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_ASKED = (
    "appendonly", "appendfsync", "no-appendfsync-on-rewrite", "save", "maxmemory", "maxmemory-policy",
    "bind", "port", "tls-port",
)  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """One line of the report of `doctor`. `status` is ok, warn or fail; `advice` says what to do about it."""

    check: str
    status: str
    detail: str
    advice: str = ""


def require_strong_server(settings: Settings, *, may_be_away: bool = False) -> None:
    """Refuse a configured server that can lose accepted work. Does not start the embedded one, which cannot.

    For the beginning of a command that starts workers, before it forks them. A server that does not tell its settings
    is no reason to refuse, and neither is one that a power cut may cost more than was asked for: these are logged.

    Args:
        may_be_away: a server that does not answer is waited for later, and only logged now.
    Raises:
        ServerTooWeak: a line for each weakness. StoreUnavailable: it does not answer, and may not be away.
    """
    if settings.url is None:
        return
    try:
        with visit(settings.url, deadline_s=settings.deadline_s) as client:
            findings = list(judge_settings(client, settings))
    except StoreUnavailable as error:
        if not may_be_away:
            raise
        logger.warning("The settings of the server were not checked: %s", error.message)
        return
    weak = [finding for finding in findings if finding.status == "fail" and finding.check in NEEDED]
    for finding in findings:
        if finding.status != "ok" and (finding not in weak or settings.allow_weak_server):
            logger.warning("The server: %s (%s)", finding.detail, finding.advice)
    if weak and not settings.allow_weak_server:
        raise ServerTooWeak("\n".join([
            *(f"{finding.check}: {finding.detail}; {finding.advice}" for finding in weak),
            f"{mask_password(settings.url)} can lose accepted work: no worker starts there,"
            " unless ORCHESTRATOR_ALLOW_WEAK_SERVER=1 says so",
        ]))  # fmt: skip


def judge_settings(client: redis.Redis, settings: Settings) -> Iterator[Finding]:
    """Look at the settings of a server: a finding for each check; `cluster` only where it is one."""
    if _in_cluster(client):
        detail = "a node of a Redis Cluster, which keeps what one script changes on several nodes"
        yield Finding("cluster", "fail", detail, "take a server without cluster mode; docs/scaling.md says why")
    yield from judge_way(settings.url)
    config = _config(client)
    if not config:
        advice = "make sure that appendonly is yes, maxmemory-policy noeviction, and that it asks for a password"
        yield Finding("durability", "warn", "the server does not tell its settings", advice)
        return
    yield _append_only_file(client, config)
    if config["appendonly"] == "yes":
        yield _power_cut(config, settings)
    yield _eviction(config)
    yield _access(client, config)


def judge_way(url: str | None) -> Iterator[Finding]:
    """Whether what goes to the server of a URL can be read, or answered by another, on the way; nothing if embedded."""
    if url is None:
        return
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    if parts.scheme in ("unix", "redis+socket") or (parts.scheme == "redis" and parts.hostname in _LOOPBACK):
        yield Finding("tls", "ok", "not needed on the way inside this machine")
    elif parts.scheme != "rediss":
        detail = f"what goes to {parts.hostname} is not encrypted, its password neither"
        yield Finding("tls", "warn", detail, "use rediss://, unless the network is private (docs/operations.md, TLS)")
    elif query.get("ssl_cert_reqs", "required") != "required" or "ssl_check_hostname" in query:
        detail = "the certificate of the server is not checked: anybody on the way may answer for it"
        advice = "take ssl_cert_reqs and ssl_check_hostname out of the URL; ssl_ca_certs names your own authority"
        yield Finding("tls", "fail", detail, advice)
    else:
        yield Finding("tls", "ok", "encrypted, the certificate is checked")


def judge_patches(kind: str, version: str) -> Finding:
    """Whether the version of a server is known to be vulnerable."""
    known = known_advisories(kind, version)
    if not known:
        return Finding("patches", "ok", f"none missing that was known on {KNOWN_ON}")
    detail = f"{kind} {version} is open to {', '.join(known)} (known on {KNOWN_ON})"
    advice = f"install {mended_release(kind, version)} or newer; a distribution may have mended it under the old number"
    return Finding("patches", "warn", detail, advice)


def _config(client: redis.Redis) -> dict[str, str]:
    """The settings; empty where the server does not tell (managed servers often do not)."""
    try:
        found: Any = client.config_get(*_ASKED)
    except redis.ResponseError:
        return {}
    config = {name: str(found.get(name, "")) for name in _ASKED}
    return config if config["appendonly"] else {}


def _in_cluster(client: redis.Redis) -> bool:
    try:
        info: Any = client.info("cluster")
    except redis.ResponseError:
        return False  # we may not ask
    return bool(info.get("cluster_enabled"))


def _append_only_file(client: redis.Redis, config: dict[str, str]) -> Finding:
    if config["appendonly"] == "yes":
        info: Any = client.info("persistence")
        if info.get("aof_last_write_status", "ok") == "ok":
            return Finding("durability", "ok", "append-only file")
        advice = "make room on its disk; it goes on by itself"
        return Finding("durability", "fail", "the server cannot write its append-only file and refuses work", advice)
    since = f"what came since the last snapshot (save {config['save']})" if config["save"] else "everything"
    return Finding("durability", "fail", f"no append-only file: a crash loses {since}", "CONFIG SET appendonly yes")


def _power_cut(config: dict[str, str], settings: Settings) -> Finding:
    """What a power cut costs, against what the settings want."""
    fsync = config["appendfsync"]
    if fsync not in ("always", "everysec"):
        detail = f"appendfsync {fsync}: a power cut may cost what was accepted in the last half minute"
        return Finding("power cut", "fail", detail, "CONFIG SET appendfsync always")
    if config["no-appendfsync-on-rewrite"] == "yes":
        detail = "not synced while the append-only file is rewritten: a power cut then may cost half a minute"
        return Finding("power cut", "fail", detail, "CONFIG SET no-appendfsync-on-rewrite no")
    if fsync == "always":
        return Finding("power cut", "ok", "synced at every write: it costs nothing")
    detail = "synced every second: it may cost what was accepted in the last two"
    if settings.wanted_durability == "everysec":
        return Finding("power cut", "ok", detail)
    advice = "CONFIG SET appendfsync always, or ORCHESTRATOR_DURABILITY=everysec if that is enough"
    return Finding("power cut", "fail", detail, advice)


def _eviction(config: dict[str, str]) -> Finding:
    policy, limit = config["maxmemory-policy"], int(config["maxmemory"] or 0)
    if policy == "noeviction":
        return Finding("eviction", "ok", policy)
    when = f"at maxmemory ({limit:,} bytes)" if limit else "once maxmemory is set"
    detail = f"maxmemory-policy {policy}: the server drops runs and messages {when}"
    return Finding("eviction", "fail", detail, "CONFIG SET maxmemory-policy noeviction")


def _access(client: redis.Redis, config: dict[str, str]) -> Finding:
    """Who may connect: whoever can write to the server can run any agent's task."""
    hosts = [host.lstrip("-") for host in config["bind"].split()] or ["*"]
    no_port = all(config[port] in ("0", "") for port in ("port", "tls-port"))
    if no_port or all(host in _LOOPBACK for host in hosts):
        return Finding("access", "ok", "reachable from this machine only")
    if _needs_password(client):
        return Finding("access", "ok", f"listens on {', '.join(hosts)}, with a password")
    return Finding(
        "access", "fail", f"listens on {', '.join(hosts)} without a password",
        "CONFIG SET requirepass SECRET, and put it into ORCHESTRATOR_URL as redis://:SECRET@host",
    )  # fmt: skip


def _needs_password(client: redis.Redis) -> bool:
    try:
        user: Any = client.acl_getuser("default")
    except redis.ResponseError:
        return True  # we may not even ask
    return bool(user) and ("nopass" not in user["flags"] or "off" in user["flags"])
