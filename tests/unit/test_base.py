"""Delays, ids, times, settings."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.backoff import retry_delay_ms
from orchestrator.errors import SettingsInvalid
from orchestrator.ids import new_id, time_of
from orchestrator.records import rfc3339
from orchestrator.settings import Settings, mask_password


@pytest.mark.parametrize(
    ("backoff", "delays"),
    [("fixed", [100, 100, 100, 100]), ("linear", [100, 200, 300, 400]), ("exponential", [100, 200, 400, 500])],
)
def test_delays_grow_as_the_policy_says(backoff: str, delays: list[int]) -> None:
    found = [retry_delay_ms(n, delay_ms=100, backoff=backoff, max_delay_ms=500) for n in (1, 2, 3, 4)]  # type: ignore[arg-type]
    assert found == delays


@given(st.integers(1, 500), st.integers(0, 10_000), st.integers(0, 60_000))
def test_jitter_takes_half_to_all_of_the_delay_and_keeps_the_floor(failures: int, delay: int, floor: int) -> None:
    whole = retry_delay_ms(failures, delay_ms=delay, max_delay_ms=60_000)
    found = retry_delay_ms(failures, delay_ms=delay, max_delay_ms=60_000, jitter=True, floor_ms=floor)
    assert max(floor, whole // 2) <= found <= max(floor, whole)


def test_ids_sort_by_time_and_do_not_collide() -> None:
    ids = [new_id() for _ in range(5000)]
    assert len(set(ids)) == 5000
    assert [found[:9] for found in ids] == sorted(found[:9] for found in ids)


def test_an_id_tells_when_it_was_made() -> None:
    before = time.time_ns() // 1_000_000
    made = time_of(new_id())
    assert made is not None
    assert before <= made <= time.time_ns() // 1_000_000
    assert time_of("r1") is time_of("l" * 18) is None


def test_times_are_shown_in_utc_with_milliseconds() -> None:
    assert rfc3339(1_700_000_000_007) == "2023-11-14T22:13:20.007Z"
    assert rfc3339(None) is None


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:secret@host:1/0", "redis://***@host:1/0"),
        ("rediss://me:se:cret@host", "rediss://me:***@host"),
        ("redis://:se@cr/e?t#@host:1/0", "redis://***@host:1/0"),
        ("sentinel://:secret@a:1;sentinel://me:se;cret@b:2/0", "sentinel://***@a:1;sentinel://me:***@b:2/0"),
        ("sentinel://host/main?sentinel_password=secret&db=1", "sentinel://host/main?sentinel_password=***&db=1"),
        ("redis://host/0", "redis://host/0"),
        ("unix:///a/me@home/b.sock", "unix:///a/me@home/b.sock"),
        ("unix:///a/b.sock?password=secret&db=1", "unix:///a/b.sock?password=***&db=1"),
    ],
)
def test_passwords_are_masked(url: str, shown: str) -> None:
    assert mask_password(url) == shown


def test_every_setting_has_an_environment_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRATOR_LEASE_S", "1.5")
    monkeypatch.setenv("ORCHESTRATOR_AGENTS", "a.py, b")
    settings = Settings.load()
    assert (settings.lease_s, settings.agents) == (1.5, ("a.py", "b"))


@pytest.mark.parametrize(("name", "value"), [("LEASE_S", "soon"), ("LEASE_S", "0"), ("URL", "http://host")])
def test_a_bad_setting_is_one_line_that_names_it(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"ORCHESTRATOR_{name}", value)
    with pytest.raises(SettingsInvalid, match=f"ORCHESTRATOR_{name}: ") as found:
        Settings.load()
    assert "\n" not in str(found.value)


def test_celeryconfig_names_the_server_unless_the_environment_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "celeryconfig.py").write_text("import os\nbroker_url = 'redis://one/0'\nworker_concurrency = 3\n")
    settings = Settings.load()
    assert settings.url == "redis://one/0"
    assert settings.celery == {"broker_url": "redis://one/0", "worker_concurrency": 3}
    monkeypatch.setenv("ORCHESTRATOR_URL", "redis://two/0")
    assert Settings.load().url == "redis://two/0"


def test_a_broken_celeryconfig_is_one_line_that_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "celeryconfig.py").write_text("broker_url = nonsense\n")
    with pytest.raises(SettingsInvalid, match=r"celeryconfig\.py: NameError"):
        Settings.load()
