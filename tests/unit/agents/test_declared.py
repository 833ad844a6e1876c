"""Agents declared in YAML: what is found, and what is said of every mistake."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from orchestrator.agents.declared import load_declared
from orchestrator.agents.loading import load_agents
from orchestrator.errors import AgentsNotLoadable

TEAM = """\
agents:
  linter:
    kind: shell
    capabilities: [linting]
    concurrency: 3
    env: [HOME, LANG]
    tasks:
      check: {argv: [ruff, check], timeout: 30s, max_output_bytes: 1048576, cwd: .}
      count: {argv: [wc, -c]}
  translator:
    kind: http
    hosts: [API.example.org]
    tasks:
      translate:
        url: https://api.example.org/v1/translate?fast=1
        timeout: 20s
        header_from_env: {Authorization: API_TOKEN}
  pm-agent:
    kind: tmux
    window: hive:agent-pm
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def mistakes(text: str) -> list[str]:
    Path("team.yaml").write_text(dedent(text), "utf-8")
    with pytest.raises(AgentsNotLoadable) as found:
        load_declared("team.yaml")
    return str(found.value).splitlines()


@pytest.mark.parametrize("name", ["team.yaml", "team.yml"])
def test_a_yaml_file_stands_beside_python_files(folder: Path, name: str) -> None:
    (folder / name).write_text(TEAM, "utf-8")
    found = load_agents([name, "workers"])
    assert set(found.names) >= {"linter", "translator", "pm-agent", "greeter"}
    linter = found.get("linter")
    assert (linter.capabilities, linter.concurrency, list(linter.tasks)) == (("linting",), 3, ["check", "count"])
    assert found.task("translator", "translate").info.accepts_any
    assert found.get("pm-agent").info.hears
    assert not linter.info.hears


def test_a_folder_of_agents_does_not_give_its_yaml_files(folder: Path) -> None:
    (folder / "team.yaml").write_text(TEAM, "utf-8")
    with pytest.raises(AgentsNotLoadable, match="defines no agent"):
        load_agents(["."])


def test_all_mistakes_of_a_file_are_told_together_with_their_lines(folder: Path) -> None:
    found = mistakes("""\
        agents:
          linter:
            kind: shell
            enviroment: [HOME]
            concurrency: 0
            env: [HOME, "A=B"]
            tasks:
              check: {argv: [sleep, 5], timeout: 30, cmd: ls}
              "two words": {argv: [ls]}
              empty: {argv: []}
              none: {}
          translator:
            kind: htpp
          api:
            kind: http
            hosts: [api.example.org]
            tasks:
              a: {url: "https://other.example.org/"}
          "no name": {kind: tmux}
          pm-agent:
            kind: tmux
            window: somewhere
          plain: text
        agent: {}
        """)
    assert found == [
        "team.yaml:4: agents.linter.enviroment: unknown key 'enviroment'; "
        "known are capabilities, concurrency, env, tasks",
        "team.yaml:5: agents.linter.concurrency: must be at least 1, and is 0",
        "team.yaml:6: agents.linter.env.1: 'A=B' is no name here: "
        "use letters, digits and '_', not first a digit, 64 at most",
        "team.yaml:8: agents.linter.tasks.check.argv.1: must be text, and is 5; put it in quotes",
        "team.yaml:8: agents.linter.tasks.check.timeout: 30 is no duration; write 30s",
        "team.yaml:8: agents.linter.tasks.check.cmd: unknown key 'cmd' (did you mean cwd?)",
        "team.yaml:9: agents.linter.tasks.two words: 'two words' is no name here: "
        "use a-z, 0-9, '_' and '-', a letter first, 63 at most",
        "team.yaml:10: agents.linter.tasks.empty.argv: must not be empty",
        "team.yaml:11: agents.linter.tasks.none.argv: 'argv' is missing",
        "team.yaml:13: agents.translator.kind: no kind 'htpp' (did you mean http?)",
        "team.yaml:18: agents.api.tasks.a.url: the host other.example.org is not among `hosts`",
        "team.yaml:19: agents.no name: agent name 'no name': use a-z, 0-9, '_' and '-', a letter first, 63 at most",
        "team.yaml:22: agents.pm-agent.window: 'somewhere' is no window: write SESSION:WINDOW, with letters, digits, "
        "spaces, '_', '-' and '+'",
        "team.yaml:23: agents.plain: an agent is a mapping with `kind:`, which is one of http, shell, tmux",
        "team.yaml:24: agent: unknown key 'agent' (did you mean agents?)",
    ]


@pytest.mark.parametrize(
    ("key", "near"), [("tsks", "tasks"), ("capabilites", "capabilities"), ("concurency", "concurrency")]
)
def test_an_unknown_key_names_the_near_one(folder: Path, key: str, near: str) -> None:
    found = mistakes(f"agents: {{a: {{kind: shell, tasks: {{t: {{argv: [ls]}}}}, {key}: x}}}}")
    assert found == [f"team.yaml:1: agents.a.{key}: unknown key '{key}' (did you mean {near}?)"]


@pytest.mark.parametrize(
    "url",
    [
        "ftp://api.example.org/",
        "api.example.org",
        "https://user:word@api.example.org/",
        "https://api.example.org\\@other.example.org/",
        "https://api.example.org/a b",
        "https://api.example.org/#part",
        "https://ápi.example.org/",
        "https://api.example.org:x/",
        "https:///path",
    ],
)
def test_an_address_that_could_be_read_in_two_ways_is_refused(folder: Path, url: str) -> None:
    (told,) = mistakes(f"agents: {{a: {{kind: http, hosts: [api.example.org], tasks: {{t: {{url: '{url}'}}}}}}}}")
    assert told.startswith("team.yaml:1: agents.a.tasks.t.url: must be http(s)://HOST[:PORT]/PATH")


def test_headers_come_only_from_variables_and_never_replace_our_own(folder: Path) -> None:
    found = mistakes("""\
        agents:
          a:
            kind: http
            hosts: [h]
            tasks:
              t: {url: "http://h/", headers: {A: b}}
              u: {url: "http://h/", header_from_env: {Host: A}}
              v: {url: "http://h/", header_from_env: {X-Key: "$A"}}
        """)
    assert found[0].startswith("team.yaml:6: agents.a.tasks.t.headers: unknown key 'headers'")
    assert found[1] == "team.yaml:7: agents.a.tasks.u.header_from_env.Host: 'Host' is no header that can be set here"
    assert found[2].startswith("team.yaml:8: agents.a.tasks.v.header_from_env.X-Key: '$A' is no name here")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("agents: {", "team.yaml:1: is no YAML"),
        ("a: 1\na: 2", "team.yaml:2: the key 'a' is there twice"),
        ("agents: {}", "team.yaml:1: a file of agents is a mapping with `agents:`"),
        ("- a", "team.yaml:1: a file of agents is a mapping with `agents:`"),
        ("name: shout\nsteps: []", "team.yaml:1: a file of agents is a mapping with `agents:`"),
        ("agents: {a: {kind: shell}}\n---\nb: 1", "team.yaml:2: a second document; a file holds only one"),
    ],
)
def test_a_file_that_is_something_else_is_said_to_be(folder: Path, text: str, told: str) -> None:
    (found,) = mistakes(text)
    assert found.startswith(told)


def test_a_file_that_is_not_there_is_named(folder: Path) -> None:
    with pytest.raises(AgentsNotLoadable, match=r"^absent\.yaml: no such file$"):
        load_agents(["absent.yaml"])


def test_a_kind_from_another_package_needs_nothing_but_its_entry_point(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = folder / "site"
    (package / "ours-1.dist-info").mkdir(parents=True)
    (package / "ours-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: ours\nVersion: 1\n")
    (package / "ours-1.dist-info" / "entry_points.txt").write_text(
        "[orchestrator.agent_kinds]\ndesk = ours_desk:desk\nbroken = ours_absent:desk\n"
    )
    (package / "ours_desk.py").write_text(
        "from orchestrator import Agent\n"
        "from pydantic import BaseModel\n"
        "class Desk(BaseModel, extra='forbid'):\n    drawers: int\n"
        "def desk(name, declaration):\n    Desk(**declaration)\n    return Agent(name)\n"
    )
    monkeypatch.syspath_prepend(package)
    (folder / "team.yaml").write_text("agents: {ada: {kind: desk, drawers: 2}}")
    assert load_agents(["team.yaml"]).names == ("ada",)
    assert mistakes("agents:\n  ada: {kind: desk, drawers: x, lamp: 1}\n  bob: {kind: broken}") == [
        "team.yaml:2: agents.ada.drawers: Input should be a valid integer, unable to parse string as an integer",
        "team.yaml:2: agents.ada.lamp: Extra inputs are not permitted",
        "team.yaml:3: agents.bob.kind: the kind broken does not work: "
        "ModuleNotFoundError: No module named 'ours_absent'",
    ]
