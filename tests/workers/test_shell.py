"""The kind `shell`: real programs, their limits, and what is left of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

import pytest

from orchestrator import Fatal, StoreUnavailable
from orchestrator.testing import simulate
from tests.waiting import wait_until
from workers import programs
from workers.programs import ProgramStopped
from workers.shell import ProgramFailed, shell_agent

ECHO = [sys.executable, "-c", "import sys; sys.stdout.write(sys.stdin.read())"]


def run(argv: list[str], values: dict[str, Any] | None = None, *, env: tuple[str, ...] = (), **limits: Any) -> Any:
    """Run one program as a task, with a context that is never cancelled."""
    agent = shell_agent("a", {"env": list(env), "tasks": {"t": {"argv": argv, **limits}}})
    return agent.tasks["t"].fn(SimpleNamespace(cancelled=False), **(values or {}))


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def sh(script: str) -> list[str]:
    return ["/bin/sh", "-c", script]


def gone(file: Path) -> bool:
    """Whether the process whose id is in the file has ended."""
    try:
        os.kill(int(file.read_text()), 0)
    except ProcessLookupError:
        return True
    # A child of nobody stays a zombie where the first process does not reap.
    status = Path(f"/proc/{int(file.read_text())}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z"


# --- what goes in and out -----------------------------------------------------------------------------------------


def test_values_go_in_as_json_and_json_comes_out() -> None:
    values = {"text": "ünï\n\"'$(x)", "list": [1, None, 2.5], "ctx": {"deep": True}}
    assert run(ECHO, values) == values


def test_a_workflow_runs_a_declared_program(tmp_path: Path) -> None:
    agent = shell_agent("tools", {"tasks": {"echo": {"argv": ECHO}}})
    (tmp_path / "w.yaml").write_text(
        "name: w\nsteps:\n  - {id: e, agent: tools, task: echo, with: {n: 3}}\n"
        'outputs: {n: "${{ steps.e.output.n }}"}\n'
    )
    assert simulate(tmp_path / "w.yaml", agents=[agent]).outputs == {"n": 3}


def test_no_shell_reads_the_words_or_the_values(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    hostile = f"$(touch {trap}) `touch {trap}`; touch {trap} | touch {trap} && *"
    show = "import sys, json; print(json.dumps([sys.argv[1:], json.load(sys.stdin)]))"
    words, values = run([*python(show), hostile, "a b", ""], {"value": hostile})
    assert (words, values) == ([hostile, "a b", ""], {"value": hostile})
    assert not trap.exists()


def test_values_never_become_words() -> None:
    assert run(python("import sys; print(len(sys.argv))"), {"argv": ["--help"], "x": "--help"}) == 1


def test_only_the_named_variables_and_path_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_WORKER", "x")
    monkeypatch.setenv("GIVEN", "y")
    seen = run(["env", *python("import os, json; print(json.dumps(dict(os.environ)))")], env=("GIVEN", "ABSENT"))
    seen.pop("LC_CTYPE", None)  # Python sets it for itself
    assert seen == {"GIVEN": "y", "PATH": os.environ["PATH"]}


def test_a_program_starts_in_its_folder(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    assert run(python("import os, json; print(json.dumps(os.getcwd()))"), cwd=str(tmp_path / "deep")) == str(
        tmp_path / "deep"
    )


def test_megabytes_go_in_while_megabytes_come_out() -> None:
    text = "x" * 3_000_000
    assert run(ECHO, {"text": text}) == {"text": text}


def test_a_program_may_ignore_its_input() -> None:
    assert run(["echo", "1"], {"text": "x" * 3_000_000}) == 1


def test_complaints_of_a_program_that_succeeds_do_not_matter() -> None:
    assert run(sh("yes complaint | head -c 1000000 >&2; echo 1")) == 1


# --- what goes wrong ----------------------------------------------------------------------------------------------


def test_an_exit_code_is_an_error_with_the_last_lines_of_complaint() -> None:
    with pytest.raises(ProgramFailed) as failed:
        run(sh("seq 1 5000 >&2; echo the end >&2; exit 3"))
    message = str(failed.value)
    assert message.startswith("/bin/sh ended with exit code 3: ")
    assert message.endswith("\n4999\n5000\nthe end")
    assert len(message) < 2000
    first = message.partition(": ")[2].partition("\n")[0]
    assert f"{int(first) + 1}" == message.split("\n")[1], "lines are whole"


def test_a_program_without_complaints_is_quoted_from_its_output() -> None:
    with pytest.raises(ProgramFailed, match="exit code 1: found two"):
        run(sh("echo found two; exit 1"))
    with pytest.raises(ProgramFailed, match="false ended with exit code 1: it said nothing"):
        run(["false"])


def test_a_signal_is_named() -> None:
    with pytest.raises(ProgramFailed, match="signal SIGABRT"):
        run(sh("kill -ABRT $$"))


@pytest.mark.parametrize(
    ("output", "told"),
    [
        ("", "printf gave no JSON, but nothing"),
        ("{broken", "printf gave no JSON: .*it begins with '{broken'"),
        ("NaN", "NaN is no JSON value"),
        ("1 2", "Extra data"),
        ('{"a": 1, "a": 2}', "the name 'a' stands twice in one object"),
        ("\\377", "printf gave no JSON"),
        ("[" * 100_000, "printf gave no JSON: .*recursion"),
    ],
)
def test_output_that_is_no_json_is_fatal(output: str, told: str) -> None:
    with pytest.raises(Fatal, match=told) as failed:
        run(["printf", output])
    assert len(str(failed.value)) < 300


def test_a_missing_program_or_folder_is_fatal_and_named(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("echo 1")
    for argv, cwd, told in (
        (["absent-program"], ".", "the program absent-program cannot be started: it is not there"),
        ([str(plain)], ".", f"the program {plain} cannot be started: it: Permission denied"),
        (["ls"], str(tmp_path / "absent"), f"ls cannot be started: the folder {tmp_path}/absent is not there"),
        (["ls"], str(plain), f"ls cannot be started: the folder {plain}: Not a directory"),
    ):
        with pytest.raises(Fatal, match=told):
            run(argv, cwd=cwd)


# --- limits -------------------------------------------------------------------------------------------------------


def grandchild(pid: Path, *, then: str = "wait", stubborn: bool = False) -> list[str]:
    """A program that starts another one, which writes its id into a file and sleeps."""
    trap = "trap '' TERM; " if stubborn else ""
    return sh(f"{trap}sh -c \"{trap}echo \\$\\$ > '{pid}.new'; mv '{pid}.new' '{pid}'; sleep 60; sleep 60\" & {then}")


@pytest.mark.parametrize("stubborn", [False, True])
def test_the_time_limit_ends_the_program_and_its_children(
    tmp_path: Path, stubborn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "_GRACE_S", 0.5)
    with pytest.raises(TimeoutError, match=r"/bin/sh took longer than 0\.5 s and was ended"):
        run(grandchild(tmp_path / "pid", stubborn=stubborn), timeout="500ms")
    wait_until(lambda: gone(tmp_path / "pid"), what="the end of the grandchild", timeout_s=5)


def test_a_program_that_closed_its_pipes_has_the_same_time_limit() -> None:
    with pytest.raises(TimeoutError):
        run(sh("exec >&- 2>&- <&-; sleep 60"), timeout="300ms")


def test_a_program_gets_a_moment_to_clean_up(tmp_path: Path) -> None:
    clean_up = f"trap \"sleep 0.1; touch '{tmp_path}/clean'; exit\" TERM"
    with pytest.raises(TimeoutError):
        run(sh(f"{clean_up}; while :; do sleep 0.05; done"), timeout="500ms")
    assert (tmp_path / "clean").exists()


def test_too_much_output_ends_the_program_and_its_children(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    with pytest.raises(Fatal, match="printed more than 100,000 bytes and was ended"):
        run(grandchild(pid, then=f"while [ ! -e '{pid}' ]; do sleep 0.01; done; yes"), max_output_bytes=100_000)
    wait_until(lambda: gone(pid), what="the end of the grandchild", timeout_s=5)


def test_output_of_just_the_limit_is_taken() -> None:
    assert run(["printf", "12345"], max_output_bytes=5) == 12345
    with pytest.raises(Fatal, match="more than 4 bytes"):
        run(["printf", "12345"], max_output_bytes=4)


def test_what_a_program_leaves_in_the_background_is_ended_and_not_waited_for(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    started = time.monotonic()
    assert run(grandchild(pid, then=f"while [ ! -e '{pid}' ]; do sleep 0.01; done; echo 1"), timeout="30s") == 1
    assert time.monotonic() - started < 10
    wait_until(lambda: gone(pid), what="the end of what was left", timeout_s=5)


class Interrupt(Exception):
    """As Celery's SoftTimeLimitExceeded: raised by a signal's handler, wherever the code is."""


@pytest.fixture
def alarm() -> Iterator[None]:
    def ring(number: int, frame: FrameType | None) -> None:
        raise Interrupt

    before = signal.signal(signal.SIGALRM, ring)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def test_an_interrupt_of_the_attempt_ends_the_program_and_its_children(tmp_path: Path, alarm: None) -> None:
    pid = tmp_path / "pid"
    signal.setitimer(signal.ITIMER_REAL, 0.7)
    with pytest.raises(Interrupt):
        run(grandchild(pid))
    wait_until(lambda: gone(pid), what="the end of the grandchild", timeout_s=5)


def test_a_cancelled_attempt_ends_the_program_where_nothing_can_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "_LOOK_AGAIN_S", 0.2)

    class Attempt:
        asked = 0

        @property
        def cancelled(self) -> bool:
            self.asked += 1
            if self.asked == 1:
                raise StoreUnavailable  # a server that restarts ends nothing
            return True

    attempt: Any = Attempt()
    agent = shell_agent("a", {"tasks": {"t": {"argv": ["sleep", "60"]}}})
    with pytest.raises(ProgramStopped, match="sleep was ended"):
        agent.tasks["t"].fn(attempt)
    assert attempt.asked == 2


_HUNDRED = """
import atexit, os

@atexit.register  # what is registered later, by the guard, runs earlier
def childless():
    try:
        print("a child is left", os.waitpid(-1, os.WNOHANG))
    except ChildProcessError:
        pass

from tests.workers.test_shell import run

run(["echo", "0"])  # starts the guard
before = os.listdir("/dev/fd")
for number in range(100):
    assert run(["echo", str(number)]) == number
assert len(os.listdir("/dev/fd")) == len(before), (before, os.listdir("/dev/fd"))
"""


def test_a_hundred_programs_leave_no_open_files_and_no_process() -> None:
    """In a process of its own, whose open files are nobody else's."""
    words = [sys.executable, "-W", "always", "-c", _HUNDRED]
    done = subprocess.run(words, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
