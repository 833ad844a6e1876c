"""An audit in one call, and its findings as text."""

from __future__ import annotations

import redis

from orchestrator.store.audit.auditor import Auditor
from orchestrator.store.audit.report import Report
from tests.conftest import KEYS


def audit(client: redis.Redis, *ledgers: object) -> Report:
    return Auditor(client, KEYS, retention_ms=60_000, message_retention_ms=60_000).audit(ledgers)


def told(client: redis.Redis, *ledgers: object) -> list[str]:
    """The findings as `about id: problem`."""
    return [f"{one.about} {one.id}: {one.problem}" for one in audit(client, *ledgers).findings]
