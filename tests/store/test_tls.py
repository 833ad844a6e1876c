"""A server behind TLS, with a certificate of a private authority: one URL serves the store and the broker."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from orchestrator import RunState
from orchestrator.errors import StoreUnavailable
from orchestrator.settings import Settings
from orchestrator.store.connection import connect
from tests.acceptance.team import team
from tests.certificates import make_authority, make_certificate
from tests.faults.servers import free_port
from tests.waiting import wait_until

PASSWORD = "open-sesame"
SERVER = shutil.which("redis-server")  # the wheel's Valkey is built without TLS

pytestmark = pytest.mark.skipif(not (SERVER and shutil.which("openssl")), reason="needs redis-server and openssl")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("tls")
    make_certificate(made, make_authority(made, "ca"))
    make_authority(made, "stranger")
    return made


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    """The URL of a server that talks TLS only, without the authority that it is checked against."""
    port = free_port()
    files = {"cert-file": "server.pem", "key-file": "server.key", "ca-cert-file": "ca.pem"}
    words = [str(SERVER), "--port", "0", "--tls-port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
    words += ["--tls-auth-clients", "no", "--save", "", "--requirepass", PASSWORD, "--appendonly", "yes"]
    words += ["--appendfsync", "always"]
    words += [word for name, file in files.items() for word in (f"--tls-{name}", str(folder / file))]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    url = f"rediss://:{PASSWORD}@localhost:{port}/0"

    def answers() -> bool:
        assert server.poll() is None, (folder / "log").read_text()
        try:
            with redis.Redis.from_url(f"{url}?ssl_ca_certs={folder / 'ca.pem'}") as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False

    try:
        wait_until(answers, what="the server", timeout_s=20)
        yield url
    finally:
        server.terminate()
        server.wait(10)


def test_a_run_and_a_message_go_through_tls(address: str, folder: Path, tmp_path: Path) -> None:
    with team(tmp_path, url=f"{address}?ssl_ca_certs={folder / 'ca.pem'}") as crew:
        crew.start_worker("hand", "echoer", concurrency=1)
        run = crew.run(
            """
            steps:
              - {id: a, agent: hand, task: echo, with: {value: 1}}
              - {id: b, agent: hand, task: echo, with: {value: "${{ steps.a.output + 1 }}"}}
              - {id: each, foreach: [1, 2, 3], agent: hand, task: echo, with: {value: "${{ item }}"}}
            """
        )
        assert run.status() is RunState.SUCCEEDED
        assert crew.client.ask("echoer", "hello", timeout_s=10) == "heard hello"
        assert PASSWORD not in crew.log


@pytest.mark.parametrize("query", ["?ssl_ca_certs={stranger}", ""], ids=["another authority", "the system's"])
def test_a_certificate_of_an_unknown_authority_is_one_clear_line(
    address: str, folder: Path, tmp_path: Path, query: str
) -> None:
    url = address + query.format(stranger=folder / "stranger.pem")
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", "runs"], cwd=tmp_path, env={**os.environ, "ORCHESTRATOR_URL": url},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 4
    assert len(done.stderr.splitlines()) == 1
    assert "certificate verify failed" in done.stderr
    assert PASSWORD not in done.stderr


def test_a_file_that_is_not_there_is_named(address: str, tmp_path: Path) -> None:
    absent = tmp_path / "absent.pem"
    with pytest.raises(StoreUnavailable, match=r"absent\.pem"):
        connect(f"{address}?ssl_ca_certs={absent}", deadline_s=Settings().deadline_s)
