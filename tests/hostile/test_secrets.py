"""Canaries: texts that nobody may see, in everything that a real installation writes, stores, shows and sends.

One `up` under umask 000, at log level debug, with traces, on a server with a password, does everything to its secrets
that a handler can do; then every place is searched.
"""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

import pytest

from tests.acceptance.browser import Browser
from tests.acceptance.project import Project
from tests.acceptance.test_handlers import everything_stored
from tests.faults.servers import Server
from tests.hostile.cases import Case
from tests.waiting import wait_until

pytestmark = pytest.mark.long

KEY = "sk-CANARY-1"
LONG = "CANARY-2-" + "".join(f"{number:x}" for number in range(1000, 1060)) + "-2-YRANAC"  # cut short by who quotes it
PASSWORD = "CANARY-6-of-the-server"
LITERAL = "CANARY-7-in-the-file"  # of the workflow: everybody who may read that may read it
HIDDEN = ("CANARY-1", "CANARY-2", "2-YRANAC", "CANARY-6")

DATATABLE = "draw=1&start=0&length=100&search[value]=&order[0][column]=0&order[0][dir]=asc&columns[0][data]=name"

AGENTS = """
import json, os, sys, threading
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from pydantic import BaseModel
from orchestrator import Agent, Context, Handoff

class ToFile(SpanExporter):
    def export(self, spans):
        with open(os.environ["SPANS"], "a") as file:
            file.writelines(span.to_json() + chr(10) for span in spans)

provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(ToFile()))
trace.set_tracer_provider(provider)

echo, other = Agent("echo", concurrency=1), Agent("other", concurrency=1)

KEPT = []

class Small(BaseModel):
    count: int

class Told(BaseModel):
    told: str

@echo.task
def say(ctx: Context, api_key: str, other: str = "") -> dict:
    print("printed", api_key)
    print("printed to stderr", api_key, file=sys.stderr)
    ctx.log.info("logged %s", api_key)
    ctx.log.debug("debugged %s", api_key)
    ctx.progress(0.5, f"noted {api_key}")
    KEPT.append(api_key)
    ids = {"thread_id": "th-" + api_key, "idempotency_key": "ik-" + api_key}
    ctx.send("other", {"told": api_key}, metadata={api_key: api_key}, **ids)
    ctx.send("other", Told(told=api_key))
    ctx.handoff("other", "work", {"given": api_key}, context={"why": api_key})
    return {"said": api_key, api_key: [api_key], "quoted": json.dumps(api_key)}

@echo.task
def later(ctx: Context) -> dict:
    # Nobody gave it a secret; it has those of the steps before, and the environment.
    print("printed later", *KEPT)
    ctx.log.info("logged later %s", KEPT)
    ctx.send("other", {"told": KEPT})
    return {"kept": KEPT, "environment": {k: v for k, v in os.environ.items() if k.startswith("ORCHESTRATOR_SECRET_")}}

@echo.task
def fail(api_key: str) -> dict:
    local = "local " + api_key
    try:
        raise KeyError(local)
    except KeyError:
        error = ValueError("it failed with " + local)
        error.add_note("noted " + local)
        raise error

@echo.task
def misfit(api_key: str) -> dict:
    return Small.model_validate({"count": api_key}).model_dump()

@echo.task
def wrong(api_key: str) -> Small:
    return {"count": api_key}

@echo.task
def crash(api_key: str) -> dict:
    threading.excepthook = sys.excepthook
    local = api_key
    os.kill(os.getpid(), 11)

@echo.task
def hand(api_key: str) -> Handoff:
    return Handoff(to="other", task="work", context={"given": api_key, "why": api_key})

@other.task
def work(ctx: Context, given: str = "", api_key: str = "") -> dict:
    return {"given": given}

@other.on_message
def hear(message, ctx):
    value = os.environ["ORCHESTRATOR_SECRET_KEY"]
    print("heard", value)
    ctx.log.info("heard %s", value)
    if message.body == {"content": "tell"}:
        return {"answer": value}
    if message.body == {"content": "fail"}:
        raise ValueError("it failed with " + value)
"""
FLOW = f"""
name: leaks
steps:
  - {{id: say, agent: echo, task: say, with: {{api_key: "${{{{ secrets.KEY }}}}", other: {LITERAL}}}}}
  - {{id: long, agent: echo, task: say, with: {{api_key: "${{{{ secrets.LONG }}}}"}}}}
  - {{id: fail, agent: echo, task: fail, with: {{api_key: "${{{{ secrets.LONG }}}}"}}, on_error: continue}}
  - {{id: later, agent: echo, task: later}}
  - {{id: misfit, agent: echo, task: misfit, with: {{api_key: "${{{{ secrets.LONG }}}}"}}, on_error: continue}}
  - {{id: wrong, agent: echo, task: wrong, with: {{api_key: "${{{{ secrets.LONG }}}}"}}, on_error: continue}}
  - {{id: hand, agent: echo, task: hand, with: {{api_key: "${{{{ secrets.KEY }}}}"}}, on_error: continue}}
  - {{id: crash, agent: echo, task: crash, with: {{api_key: "${{{{ secrets.KEY }}}}"}}, on_error: continue}}
outputs: {{said: "${{{{ steps.say.output }}}}"}}
"""


@dataclass
class Camp:
    """What was found: a name for each place -> everything that can be read there."""

    project: Project
    run_id: str
    browser: Browser
    places: dict[str, str] = field(default_factory=dict)
    modes: dict[str, int] = field(default_factory=dict)

    def where(self, canary: str) -> list[str]:
        """The places, each with the line in which it is first."""
        return [
            f"{name}: {next(line for line in text.split(chr(10)) if canary in line)[:300]}"
            for name, text in self.places.items() if canary in text
        ]  # fmt: skip


@pytest.fixture(scope="module")
def camp(tmp_path_factory: pytest.TempPathFactory) -> Camp:
    folder = tmp_path_factory.mktemp("canaries")
    project = Project(folder)
    project.agents.write_text(AGENTS)
    (folder / "leaks.yaml").write_text(FLOW)
    with Server(tmp_path_factory.mktemp("server"), tcp=True, requirepass=PASSWORD) as server:
        project.environment |= {
            "ORCHESTRATOR_URL": server.url, "ORCHESTRATOR_HOME": str(folder / "made" / "state"),
            "ORCHESTRATOR_SECRET_KEY": KEY, "ORCHESTRATOR_SECRET_LONG": LONG, "ORCHESTRATOR_MAX_LOSSES": "1",
            "SPANS": str(folder / "spans"),
        }  # fmt: skip
        before = os.umask(0)
        try:
            with (folder / "up.log").open("w") as log:
                up = project.start("up", "--port", "0", "--json", "--log-level", "debug", stderr=log)
            said = json.loads("".join(iter(up.stdout.readline, "}\n")) + "}")  # type: ignore[union-attr]
            done = project.call("run", "leaks.yaml", "--json", timeout_s=90)
            camp = Camp(project, json.loads(done.stdout)["run_id"], Browser(said["flower"]).enter())
            camp.places["what `run` wrote"] = done.stdout + done.stderr
            asked = project.call("ask", "other", "tell", "--json")
            camp.places["what `ask` wrote"] = asked.stdout + asked.stderr
            project.call("send", "other", "fail", "--max-retries", "0")
            wait_until(lambda: project.json("dead"), what="the message that fails", timeout_s=20)
            look(camp, server)
        finally:
            os.umask(before)
            project.close()
    return camp


def look(camp: Camp, server: Server) -> None:
    """Read everything there is."""
    project, run_id, places = camp.project, camp.run_id, camp.places
    journal = project.folder / "journal.jsonl"
    project.call("sink", "file", str(journal), "--once")
    commands = (
        ("show", run_id), ("events", run_id), ("events",), ("logs", run_id), ("runs",), ("agents",), ("handoffs",),
        ("dead",), ("inbox", "other", "--peek"), ("doctor",), ("metrics",), ("audit",),
    )  # fmt: skip
    for words in commands:
        for form in ((), ("--json",)):
            done = project.call(*words, *form)
            places[" ".join((*words, *form))] = done.stdout + done.stderr
    with server.client() as client:
        places["the server's keys"] = everything_stored(SimpleNamespace(redis=client))  # type: ignore[arg-type]
    steps = ("say", "long", "later", "fail", "misfit", "wrong", "hand", "crash")
    api, tasks = f"/workflows/api/runs/{run_id}", [f"{run_id}:{step}" for step in steps]
    workers = list(camp.browser.get("/api/workers?refresh=1").json)
    assert len(workers) == 2
    pages = [
        "/workflows", f"/workflows/{run_id}", "/workflows/agents", "/workflows/messages", "/workflows/handoffs",
        "/workflows/api/runs", api, f"{api}/view", *(f"{api}/steps/{step}" for step in steps), f"{api}/events",
        "/workflows/api/messages", "/workflows/api/handoffs", "/workflows/api/dead-letters", "/metrics", "/",
        "/tasks", f"/tasks/datatable?{DATATABLE}", "/api/tasks", "/api/workers?refresh=1", "/api/queues/length",
        "/broker",
        *(f"/worker/{quote(name)}" for name in workers), *(f"/task/{name}" for name in tasks),
        *(f"/api/task/info/{name}" for name in tasks),
    ]  # fmt: skip
    for path in pages:
        reply = camp.browser.get(path)
        # Flower does not know how our queues are called; what a crash interrupts is not told to it.
        unsure = ("/broker", "/api/queues/length", "/task/", "/api/task/info/")
        assert reply.status == 200 or path.startswith(unsure), path
        places[path] = reply.text
    listed = (line.split()[0] for line in project.processes())
    places["ps"] = "\n".join(Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ") for pid in listed)
    for name in ("up.log", "spans", "journal.jsonl"):
        places[name] = (project.folder / name).read_text()
        assert places[name]
    camp.modes = modes_of(project.folder)
    for path in (project.folder / "made").rglob("*"):
        if path.is_file():
            places[str(path)] = path.read_bytes().decode("latin-1")


def modes_of(folder: Path) -> dict[str, int]:
    """The mode of all that was made below `made`, and of that itself."""
    made = folder / "made"
    return {str(path.relative_to(folder)): path.lstat().st_mode for path in (made, *made.rglob("*"))}


@pytest.mark.hostile("L-01")
def test_a_secret_is_found_nowhere(case: Case, camp: Camp) -> None:
    for canary in HIDDEN:
        assert camp.where(canary) == []
    # What stands in a file is no secret, yet no log, no event and nothing of Flower's own tells what steps are given.
    shown = camp.where(LITERAL)
    assert any(name.startswith("the server's keys") for name in shown), "the search finds what is there"
    assert "echo.say" in camp.places[f"/task/{camp.run_id}:say"], "and Flower has seen the step"
    input_of_a_step = f"/workflows/api/runs/{camp.run_id}/steps"
    assert not [name for name in shown if not name.startswith(("the server", input_of_a_step))]


@pytest.mark.hostile("L-02")
def test_an_error_is_stored_without_secrets_and_without_the_variables_around_it(case: Case, camp: Camp) -> None:
    steps = json.loads(camp.places[f"show {camp.run_id} --json"])["steps"]
    error = steps["fail"]["error"]
    assert error["message"] == "it failed with local ***"
    assert "raise error" in error["traceback"]
    assert "KeyError: 'local ***'" in error["traceback"], "also of the error before it"
    for name in ("misfit", "wrong"):
        assert steps[name]["error"]["type"] in ("ValidationError", "HandlerOutputInvalid")
        assert "integer" in steps[name]["error"]["message"]
    assert steps["crash"]["error"]["type"] == "WorkerLost"
    for text in camp.places.values():
        assert "local = " not in text.replace('local = "local " + api_key', ""), "a traceback with variables"


@pytest.mark.hostile("L-04")
def test_a_reference_to_a_secret_is_resolved_in_the_worker_and_stored_as_a_reference(case: Case, camp: Camp) -> None:
    assert "secrets.KEY" in camp.places["the server's keys"]
    document = json.loads(camp.places["what `run` wrote"].partition("\n}\n")[0] + "\n}")
    told = {"said": "***", "***": ["***"], "quoted": '"***"'}
    assert document["outputs"]["said"] == document["steps"]["say"]["output"] == told
    assert document["steps"]["hand"]["output"] == {"given": "***"}
    environment = {"ORCHESTRATOR_SECRET_KEY": "***", "ORCHESTRATOR_SECRET_LONG": "***"}
    assert document["steps"]["later"]["output"] == {"kept": ["***", "***"], "environment": environment}
    assert '"answer": "***"' in camp.places["what `ask` wrote"]
    assert "it failed with ***" in camp.places["dead --json"]


@pytest.mark.hostile("L-05")
def test_a_server_that_cannot_be_reached_is_named_without_its_password(case: Case, tmp_path: Path) -> None:
    project = Project(tmp_path)
    try:
        for url, shown in (
            (f"redis://:{PASSWORD}@127.0.0.1:1/0", "redis://***@127.0.0.1:1"),
            (f"redis://me:{PASSWORD}@127.0.0.1:1/0", "redis://me:***@127.0.0.1:1"),
            (f"rediss://:{PASSWORD}@127.0.0.1:1/0", "rediss://***@127.0.0.1:1"),
            (f"sentinel://:{PASSWORD}@127.0.0.1:1/main", "sentinel://***@127.0.0.1:1"),
        ):
            for words in (("runs",), ("doctor",), ("run", "hello.yaml"), ("up", "--no-flower")):
                done = project.call(*words, ORCHESTRATOR_URL=url, ORCHESTRATOR_DEADLINE_S="1")
                assert done.returncode == 4, done.stderr
                assert shown in done.stdout + done.stderr
                assert "CANARY" not in done.stdout + done.stderr
    finally:
        project.close()


@pytest.mark.hostile("L-07")
def test_files_and_sockets_are_for_this_user_whatever_the_umask(case: Case, camp: Camp, tmp_path: Path) -> None:
    own = Project(tmp_path)
    before = os.umask(0)
    try:
        own.environment["ORCHESTRATOR_HOME"] = str(tmp_path / "made" / "state")
        assert own.call("run", "hello.yaml").returncode == 0
        running = own.start("up", "--port", "0", "--json")
        "".join(iter(running.stdout.readline, "}\n"))  # type: ignore[union-attr]
        modes = camp.modes | modes_of(tmp_path)
    finally:
        os.umask(before)
        own.close()
    assert {"made/state", "made/state/server.sock", "made/state/server.log", "made/state/flower.url"} <= set(modes)
    assert {name: oct(mode) for name, mode in modes.items() if stat.S_IMODE(mode) & 0o077} == {}


@pytest.mark.hostile("L-08")
def test_no_command_line_holds_a_password(case: Case, camp: Camp) -> None:
    assert "orchestrator" in camp.places["ps"]
    assert "CANARY" not in camp.places["ps"]
    assert "token" not in camp.places["ps"]
    root = Path(__file__).parents[2]
    files = [root / "docker-compose.yml", root / "deploy" / "Dockerfile", *(root / "deploy").rglob("*.yaml")]
    for file in files:
        for word in ("--requirepass", "valkey-cli -a", "--basic-auth"):
            assert word not in file.read_text(), f"{file.name}: {word}"
