"""What the accounts of a server may do, against what our own functions and commands do there."""

from __future__ import annotations

import re

import pytest

from orchestrator.runtime.functions import LIBRARY
from orchestrator.store.accounts import ROLES, Place
from orchestrator.store.direct import Library
from orchestrator.store.quarantine import KEY as QUARANTINE
from orchestrator.store.scripts import library

_CALL = re.compile(r"""redis\.p?call\(\s*['"]([A-Za-z]+)['"]""")
#: What changes keys of the store; the monitor may have it for keys of kombu alone.
_CHANGES = {"del", "hset", "hdel", "lpush", "rpush", "rename", "copy", "xadd", "zadd", "zrem", "zpopmin"}


def allowed(rights: str) -> set[str]:
    """The commands that a line of rights adds for all of its keys; what stands in brackets is for some of them."""
    return set(re.findall(r"\+([a-z|-]+)", re.sub(r"\(.*?\)", "", rights)))


@pytest.mark.parametrize("functions", [library(), LIBRARY], ids=["store", "broker"])
def test_a_worker_may_use_every_command_inside_our_functions(functions: Library) -> None:
    """A function runs with the rights of its caller: one more command in a script is refused where it matters first."""
    used = {name.lower() for name in _CALL.findall(functions.text)}
    assert used
    assert used - {name.partition("|")[0] for name in allowed(ROLES["worker"](Place()))} == set()


def test_the_monitor_changes_no_key_of_the_store_by_any_command() -> None:
    assert allowed(ROLES["monitor"](Place())) & _CHANGES == set()


def test_accounts_of_two_prefixes_share_no_key_but_what_could_not_be_read() -> None:
    ours, theirs = (set(re.findall(r"~([^\s)]+)", ROLES["client"](Place(prefix)))) for prefix in ("a:", "b:"))
    assert ours & theirs == {QUARANTINE}
