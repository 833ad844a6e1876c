"""Certificates of a private authority, made by the command `openssl`."""

from __future__ import annotations

import subprocess
from pathlib import Path

_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


def make_authority(folder: Path, name: str) -> Path:
    """A certificate that signs others; its key is beside it."""
    _openssl("req", "-x509", *_NEW_KEY, "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem",
             "-days", "2", "-subj", f"/CN={name}")  # fmt: skip
    return folder / f"{name}.pem"


def make_certificate(
    folder: Path, authority: Path, *, names: str = "DNS:localhost,IP:127.0.0.1", days: int = 2
) -> None:
    """`server.pem` and `server.key`, for localhost or other names; with negative days it has expired."""
    (folder / "names").write_text(f"subjectAltName={names}")
    _openssl("req", *_NEW_KEY, "-keyout", folder / "server.key", "-out", folder / "server.csr",
             "-subj", "/CN=localhost")  # fmt: skip
    _openssl("x509", "-req", "-in", folder / "server.csr", "-days", str(days), "-CA", authority,
             "-CAkey", authority.with_suffix(".key"), "-CAcreateserial", "-extfile", folder / "names",
             "-out", folder / "server.pem")  # fmt: skip


def _openssl(*words: str | Path) -> None:
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)
