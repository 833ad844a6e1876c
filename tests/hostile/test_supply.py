"""What is installed with us, and what we give out."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from hashlib import sha256
from importlib.metadata import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.hostile.cases import Case

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = (ROOT / "requirements.lock").read_text()


def locked() -> dict[str, tuple[str, int]]:
    """package -> its version, and how many hashes it may have."""
    found: dict[str, tuple[str, int]] = {}
    for entry in re.split(r"\n(?=\S)", LOCK.strip()):
        name, version = entry.split()[0].split("==")
        found[canonicalize_name(name)] = (version, entry.count("--hash=sha256:"))
    return found


@pytest.mark.hostile("U-04")
def test_every_dependency_has_a_reason_and_a_place_in_the_lock(case: Case) -> None:
    reasons = (ROOT / "docs" / "decisions" / "0019-dependencies.md").read_text()
    pins = locked()
    assert all(hashes for _, hashes in pins.values())
    for text in PROJECT["dependencies"]:
        wanted = Requirement(text)
        assert f"`{wanted.name}`" in reasons, wanted.name
        version, _ = pins[canonicalize_name(wanted.name)]
        assert wanted.specifier.contains(version), f"make lock: {wanted} is locked at {version}"
    assert "://" not in LOCK, "a lock that names a host installs only where that is reached"
    assert not re.search("^ *-(?!-hash=)", LOCK, re.MULTILINE), "nothing but packages and their hashes"


def test_no_package_of_an_installation_asks_for_the_source_of_what_uses_it() -> None:
    licences = {}
    for name in locked():
        about = metadata(name)
        told = [about.get("License-Expression"), about.get("License"), *about.get_all("Classifier", [])]
        licences[name] = [text for text in told if text and re.search("licen|MIT|BSD|Apache|PSF|MPL|ISC", text, re.I)]
    assert [name for name, texts in licences.items() if not texts] == []
    assert [name for name, texts in licences.items() if re.search(r"\b(A|L)?GPL|Affero", " ".join(texts))] == []


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The wheel of the last commit, from two clones under two umasks, with files in one that are not committed."""
    made = []
    for mask in ("022", "077"):
        clone = tmp_path_factory.mktemp(f"clone{mask}") / "clone"
        subprocess.run(["sh", "-c", f'umask {mask}; git clone -q "$1" "$2"', "sh", ROOT, clone], check=True, timeout=60)
        if mask == "077":
            (clone / "orchestrator" / "web" / "static" / "key.js").write_text("// -----BEGIN PRIVATE KEY-----")
            (clone / "workers" / "mine.py").write_text("MINE = 1")
        words = f'umask {mask}; make wheel DIST=made PYTHON="$1"'
        subprocess.run(["sh", "-c", words, "sh", sys.executable], cwd=clone, check=True, timeout=110)
        made += (clone / "made").glob("*.whl")
    return made


@pytest.mark.long
@pytest.mark.hostile("U-05")
def test_the_wheel_is_the_same_twice_and_holds_the_packages_alone(case: Case, wheels: list[Path]) -> None:
    first, second = wheels
    assert sha256(first.read_bytes()).digest() == sha256(second.read_bytes()).digest()
    with zipfile.ZipFile(first) as wheel:
        names = wheel.namelist()
        kinds = r"\.(py|lua|html|css|js|svg|png|woff2|ico|json|webmanifest)$|/py\.typed$"
        strange = [
            name for name in names
            if not re.search(kinds, name) and not re.match(r"agent_orchestrator-[^/]+\.dist-info/", name)
        ]  # fmt: skip
        assert strange == []
        assert {name.split("/")[0] for name in names} <= {"orchestrator", "workers", names[-1].split("/")[0]}
        paths = re.compile(rb"PRIVATE KEY-----\n[A-Za-z0-9+/]|" + re.escape(str(ROOT).encode()) + rb"|/home/[a-z]+/\w")
        assert [name for name in names if name.endswith(".py") and paths.search(wheel.read(name))] == []
