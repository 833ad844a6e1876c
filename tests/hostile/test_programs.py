"""Programs that agents run: hostile values reach them as data, and they cannot take the machine with them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from orchestrator import Fatal
from orchestrator.agents.loading import load_agents
from orchestrator.errors import AgentsNotLoadable
from tests.hostile.cases import Case
from tests.waiting import wait_until
from workers.groups import held
from workers.shell import shell_agent

# Prints its words and its standard input, as JSON.
SHOW = [sys.executable, "-c", "import sys, json; print(json.dumps([sys.argv[1:], json.load(sys.stdin)]))"]
MIB = 1 << 20
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="processes are counted by /proc")


def run(argv: list[str], values: dict[str, Any] | None = None, **more: Any) -> Any:
    env = more.pop("env", [])
    agent = shell_agent("a", {"env": env, "tasks": {"t": {"argv": argv, **more}}})
    return agent.tasks["t"].fn(SimpleNamespace(cancelled=False), **(values or {}))


def arrives_as_it_is(folder: Path, case: Case) -> None:
    """As a value, which is never a word, and as a word of the declaration; nothing runs it."""
    for text in case.variants:
        words, values = run([*SHOW, text], {"text": text}, cwd=str(folder))
        assert (words, values) == ([text], {"text": text})
    assert list(folder.iterdir()) == []


@pytest.mark.hostile("C-01")
def test_a_semicolon_ends_nothing(case: Case, tmp_path: Path) -> None:
    arrives_as_it_is(tmp_path, case)


@pytest.mark.hostile("C-04")
def test_a_line_feed_ends_nothing(case: Case, tmp_path: Path) -> None:
    arrives_as_it_is(tmp_path, case)


@pytest.mark.hostile("C-05")
def test_a_value_is_no_option(case: Case) -> None:
    for text in case.variants:
        words, values = run(SHOW, {"text": text, text: 1})
        assert (words, values) == ([], {"text": text, text: 1})


@pytest.mark.hostile("C-06")
def test_a_value_is_no_format(case: Case, tmp_path: Path) -> None:
    arrives_as_it_is(tmp_path, case)


@pytest.mark.hostile("C-07")
def test_a_command_is_a_list(case: Case, tmp_path: Path) -> None:
    file = tmp_path / "team.yaml"
    line = "sh -c 'echo ${{ input.text }}'"
    declaration = {"kind": "shell", "tasks": {"t": {"argv": line}}}
    for text in (*case.variants, json.dumps({"agents": {"sh": declaration}})):
        file.write_text(text)
        with pytest.raises(AgentsNotLoadable) as caught:
            load_agents([str(file)])
    assert f"{file}:1: agents.sh.tasks.t.argv: must be a list of words" in caught.value.message
    assert '["sh", "-c"' in caught.value.message


@pytest.mark.hostile("C-08")
def test_a_large_value_goes_in_and_a_large_word_does_not(case: Case) -> None:
    for text in case.variants:
        assert run(SHOW, {"text": text})[1] == {"text": text}
        with pytest.raises(ValidationError, match="a word has at most 131,071 bytes"):
            run([*SHOW, text])
    assert run([*SHOW, "x" * 131_071])[0] == ["x" * 131_071]


@pytest.mark.hostile("C-11")
def test_a_program_sees_the_variables_on_its_list(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REDIS_URL", "CELERY_BROKER", "AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "ORCHESTRATOR_SECRET_X"):
        monkeypatch.setenv(name, "CANARY-c11")
    monkeypatch.setenv("WANTED", "w")
    show = [sys.executable, "-c", "import os, json; print(json.dumps(dict(os.environ)))"]
    seen = run(show, env=["WANTED", "ABSENT"])
    seen.pop("LC_CTYPE", None)  # Python's own
    assert seen == {"PATH": os.environ["PATH"], "WANTED": "w"}


@on_linux
@pytest.mark.hostile("C-12")
def test_a_program_cannot_take_the_machine(tmp_path: Path) -> None:
    leader = tmp_path / "leader"
    bomb = f"import os\nopen({str(leader)!r}, 'w').write(str(os.getpid()))\n"
    bomb += "while True:\n    if os.fork() == 0:\n        os.nice(19)\n"
    with pytest.raises(Fatal, match="started more than 20 processes and was ended"):
        run([sys.executable, "-c", bomb], max_processes=20)
    wait_until(lambda: held(int(leader.read_text()))[0] == 0, what="the end of the group", timeout_s=10)
    eater = "held = []\nwhile True:\n    held.append(bytearray(2 << 20))\n"
    with pytest.raises(Fatal, match="held more than 67,108,864 bytes of memory and was ended"):
        run([sys.executable, "-c", eater], max_memory_bytes=64 * MIB)


@on_linux
def test_processes_of_one_group_count_together() -> None:
    child = "import time; held = bytearray(b'x' * (40 << 20)); time.sleep(60)"
    start = f"subprocess.Popen([sys.executable, '-c', {child!r}])"
    parent = f"import subprocess, sys, time\nfor _ in range(3): {start}\ntime.sleep(60)"
    with pytest.raises(Fatal, match="bytes of memory"):
        run([sys.executable, "-c", parent], max_memory_bytes=100 * MIB)


KILLED = """
import sys
from types import SimpleNamespace
from workers.shell import shell_agent
agent = shell_agent("a", {"tasks": {"t": {"argv": sys.argv[1:]}}})
agent.tasks["t"].fn(SimpleNamespace(cancelled=False))
"""
LASTING = """
import os, subprocess, sys, time
subprocess.Popen(["sleep", "600"])
with open(sys.argv[1], "w") as file:
    file.write(str(os.getpid()))
time.sleep(600)
"""


@on_linux
def test_a_program_ends_with_a_worker_that_is_killed(tmp_path: Path) -> None:
    """And what it has started, too: the next attempt starts another one."""
    file = tmp_path / "pid"
    words = [sys.executable, "-c", KILLED, sys.executable, "-c", LASTING, str(file)]
    with subprocess.Popen(words) as worker:
        wait_until(lambda: file.exists() and file.read_text().strip(), what="the program", timeout_s=20)
        group = int(file.read_text())
        assert held(group)[0] == 2
        worker.kill()
    wait_until(lambda: held(group)[0] == 0, what="the end of the program", timeout_s=5)
