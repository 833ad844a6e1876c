"""Servers whose certificate does not hold, and clients without one: each is one clear line."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.certificates import make_authority, make_certificate
from tests.faults.servers import Server, binary, free_port
from tests.hostile.cases import Case
from tests.hostile.hardened import command

pytestmark = pytest.mark.skipif(not (binary("redis-server") and shutil.which("openssl")), reason="needs redis-server")


@contextmanager
def started(folder: Path, **config: str) -> Iterator[str]:
    """A server that talks TLS only, by `server.pem` of the folder. Yields its URL without authorities."""
    port = free_port()
    names = {"cert": "server.pem", "key": "server.key", "ca_cert": "ca.pem"}
    settings = {"tls_port": str(port), "tls_auth_clients": "no", **config}
    settings |= {f"tls_{name}_file": str(folder / file) for name, file in names.items()}
    server = Server(folder / "data", kind="redis-server", **settings)
    server.start()
    try:
        yield f"rediss://localhost:{port}/0"
    finally:
        server.stop()


@pytest.mark.hostile("R-06")
@pytest.mark.parametrize(
    ("made", "told"),
    [
        ({"days": -1}, "certificate has expired"),
        ({"names": "DNS:elsewhere.example"}, "not valid for 'localhost'"),
        ("self-signed", "self-signed certificate"),
        ("a stranger", "certificate verify failed"),
    ],
    ids=str,
)  # fmt: skip
def test_a_certificate_that_does_not_hold_is_refused(
    case: Case, tmp_path: Path, made: dict[str, object] | str, told: str
) -> None:
    authority = make_authority(tmp_path, "ca")
    if made == "self-signed":
        make_authority(tmp_path, "server")
    else:
        signer = make_authority(tmp_path, "stranger") if made == "a stranger" else authority
        make_certificate(tmp_path, signer, **(made if isinstance(made, dict) else {}))  # type: ignore[arg-type]
    with started(tmp_path) as url:
        done = command("runs", url=f"{url}?ssl_ca_certs={authority}", folder=tmp_path)
    assert done.returncode == 4
    assert len(done.stderr.splitlines()) == 1
    assert told in done.stderr


def test_a_server_may_ask_for_a_certificate_of_the_client(tmp_path: Path) -> None:
    authority = make_authority(tmp_path, "ca")
    make_certificate(tmp_path, authority)
    with started(tmp_path, tls_auth_clients="yes") as url:
        base = f"{url}?ssl_ca_certs={authority}"
        ours = f"{base}&ssl_certfile={tmp_path / 'server.pem'}&ssl_keyfile={tmp_path / 'server.key'}"
        assert command("runs", url=ours, folder=tmp_path).returncode == 0
        refused = command("runs", url=base, folder=tmp_path)
    assert refused.returncode == 4
    assert len(refused.stderr.splitlines()) == 1
