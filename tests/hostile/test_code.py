"""Code that lies around is not run, and what is shipped as an example is safe to start as it is."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.project import ROOT, Project
from tests.hostile.cases import Case
from tests.hostile.measuring import compile_apart

#: Modules that commands and workers import, also late: a file of that name must not come before the real one.
SHADOWS = ("celery", "kombu", "redis", "yaml", "json", "cel", "pydantic", "ruamel", "typer", "jsonschema", "rich")


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    made = Project(tmp_path)
    yield made
    made.close()


@pytest.mark.hostile("U-02")
def test_a_file_called_like_a_library_is_not_imported(case: Case, project: Project) -> None:
    assert all(f"{name}.py" in case.text for name in ("celery", "redis", "yaml"))
    trap = f"open({str(project.folder / 'pwned-u02')!r}, 'w').write(__name__)\n"
    flows = project.folder / "flows"
    flows.mkdir()
    (flows / "hello.yaml").write_text((project.folder / "hello.yaml").read_text())
    for folder in (project.folder, flows):
        for name in SHADOWS:
            (folder / f"{name}.py").write_text(trap)
    flow = "flows/hello.yaml"
    agents = ("--agents", "team")  # a module of the folder, which is looked for there
    for words in (("validate", flow), ("graph", flow), ("plan", flow), ("run", flow), ("validate", flow, *agents)):
        done = subprocess.run(
            [Path(sys.executable).with_name("orchestrator"), *words],
            cwd=project.folder, env=project.environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert not list(project.folder.rglob("pwned-*"))


def test_looking_at_a_file_runs_nothing_of_it_and_reads_no_secret(project: Project) -> None:
    trap = f"open({str(project.folder / 'pwned-look')!r}, 'w')\n"
    (project.folder / "pwned_module.py").write_text(trap)
    (project.folder / "flow.yaml").write_text(
        "name: flow\nsteps:\n"
        '  - {id: a, agent: pwned_module, task: f, with: {text: "${{ secrets.CANARY }}"}}\n'
        '  - {id: b, agent: echo, task: say, with: {text: "${{ secrets.CANARY }}"}}\n'
    )
    for command in ("validate", "graph", "plan"):
        done = project.call(command, "flow.yaml", ORCHESTRATOR_SECRET_CANARY="CANARY-look")
        assert "CANARY-look" not in done.stdout + done.stderr
    assert not list(project.folder.rglob("pwned-*"))
    assert not (project.folder / "state" / "valkey.sock").exists()


EXAMPLES = sorted([*(ROOT / "workflows").rglob("*.yaml"), *(ROOT / "deploy").rglob("*"), ROOT / "docker-compose.yml"])
UNSAFE = {
    "a string for a shell": r"\bshell\s*=\s*True|os\.system|\bsh -c\b|\bbash -c\b",
    "evaluation": r"\beval\(|\bexec\(|pickle|yaml\.load\(",
    "a default password": r"(?i)(?:password|secret|token)\s*[:=]\s*[\"']?(?:admin|changeme|password|secret|guest|1234)",
    "no certificate": r"(?i)ssl_cert_reqs=none|verify\s*[:=]\s*false|insecure",
}


@pytest.mark.long
@pytest.mark.hostile("U-06")
def test_the_examples_are_safe_as_they_are(case: Case, tmp_path: Path) -> None:
    assert "no shell strings, no eval, no 0.0.0.0, no default password" in case.expected
    found = []
    for file in (file for file in EXAMPLES if file.is_file()):
        text = file.read_text(errors="replace")
        found += [(str(file.relative_to(ROOT)), what) for what, unsafe in UNSAFE.items() if re.search(unsafe, text)]
    assert found == []
    for file in (ROOT / "workflows").rglob("*.yaml"):
        assert compile_apart(tmp_path, file.read_bytes()).memory_mib < 50


def test_what_listens_everywhere_is_in_a_container_and_asks_for_a_password() -> None:
    opened = [file for file in EXAMPLES if file.is_file() and "0.0.0.0" in file.read_text()]
    assert {file.name for file in opened} == {"docker-compose.yml", "flower.yaml", "metrics.yaml"}
    for file in opened:
        text = file.read_text()
        assert file.name == "metrics.yaml" or "FLOWER_BASIC_AUTH" in text
        published = [port for ports in re.findall(r"ports: \[(.*)\]", text) for port in ports.split(",")]
        assert all(port.strip().startswith('"127.0.0.1:') for port in published)
