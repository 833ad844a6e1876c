"""The figures over HTTP, on this machine."""

from __future__ import annotations

import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from orchestrator.errors import SettingsInvalid, StoreUnavailable
from orchestrator.metrics import server
from orchestrator.metrics.server import MetricsServer
from orchestrator.store.figures import Figures
from tests.unit.metrics.test_formats import FIGURES


@contextmanager
def serving(gather: Callable[[], Figures]) -> Iterator[str]:
    with MetricsServer("127.0.0.1", 0, gather) as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield made.url
        finally:
            made.shutdown()
            thread.join()


def get(url: str, **headers: str) -> tuple[int, str, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=5) as reply:
            return reply.status, reply.headers["Content-Type"], reply.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read().decode()


@pytest.mark.parametrize(
    ("host", "code"),
    [("evil.example", 403), ("[", 403), ("localhost:1", 200), ("127.0.0.1", 200), ("x.localhost", 200)],
)
def test_a_page_whose_name_points_here_gets_nothing(host: str, code: int) -> None:
    with serving(lambda: FIGURES) as url:
        for path in ("", ".json"):
            assert get(url + path, Host=host)[0] == code


def test_text_and_json_are_served_and_nothing_else() -> None:
    with serving(lambda: FIGURES) as url:
        code, kind, text = get(url)
        assert (code, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
        assert 'orchestrator_queue_depth{agent="writer",priority="high"} 8.0' in text
        code, kind, text = get(f"{url}.json?any=query")
        assert (code, kind) == (200, "application/json")
        assert json.loads(text)["agents"]["writer"]["load"] == 11
        code, _, text = get(url.removesuffix("metrics"))
        assert (code, text) == (404, "look at /metrics or /metrics.json\n")


def test_all_who_ask_within_a_second_cost_one_look(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []

    def gather() -> Figures:
        looks.append(1)
        return FIGURES

    with serving(gather) as url:
        assert [get(url)[0] for _ in range(3)] == [200] * 3
        assert len(looks) == 1
        monkeypatch.setattr(server, "FRESH_S", 0.0)
        assert [get(url)[0] for _ in range(3)] == [200] * 3
    assert len(looks) == 4


def test_a_server_of_the_state_that_is_away_is_503() -> None:
    def gather() -> Figures:
        raise StoreUnavailable("The server redis://***@host does not answer")

    with serving(gather) as url:
        assert get(url)[::2] == (503, "The server redis://***@host does not answer\n")


def test_a_port_that_is_taken_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SettingsInvalid, match=f"cannot listen on 127.0.0.1, port {port}: Address already in use"):
            MetricsServer("127.0.0.1", port, lambda: FIGURES)
