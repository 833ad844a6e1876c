"""What the pictures and the tests of all pages look at: real runs, messages and handoffs, made by real workers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from orchestrator import MessageState, RunHandle, StepState
from tests.acceptance.team import Team, team
from tests.waiting import wait_until
from tests.web.studio import HOSTILE, LONG

REPORT = """
name: tea-report
version: "3"
inputs:
  topic: {type: string, default: How tea came to Europe}
steps:
  - {id: outline, agent: planner, task: outline, with: {topic: "${{ inputs.topic }}"}}
  - id: research
    foreach: "${{ steps.outline.output.questions }}"
    agent: researcher
    task: find
    with: {question: "${{ item }}"}
  - {id: images, needs: [outline], when: "${{ size(inputs.topic) > 80 }}", agent: writer, task: write}
  - parallel:
      - id: check-facts
        agent: researcher
        task: check
        with: {unreachable: 1}
        retry: {max_attempts: 3, delay: 300ms}
      - steps:
          - {id: write, agent: writer, task: write}
          - {id: edit, agent: editor, task: revise, with: {topic: "${{ inputs.topic }}"}}
      - {id: translate-everything-into-seven-languages, agent: writer, task: write}
  - id: polish
    loop: {until: "${{ round.index >= 1 }}", max_iterations: 3}
    steps:
      - {id: rewrite, agent: writer, task: write}
      - {id: score, agent: researcher, task: check, with: {unreachable: 0}}
  - {id: print, workflow: printing.yaml}
  - id: route
    switch:
      - {when: "${{ size(inputs.topic) > 80 }}", steps: [{id: publish-at-once, set: {ok: true}}]}
      - {default: true, steps: [{id: sign, wait: {signal: approval, timeout: 24h}}]}
  - {id: publish, agent: writer, task: write, with: {about: {url: "https://example.com/tea"}}}
outputs: {url: "${{ steps.publish.output.url }}"}
on_failure: [{id: alert, agent: writer, task: write}]
finally: [{id: clean-up, agent: writer, task: write}]
"""
PRINTING = """
name: printing
steps: [{id: proof, agent: editor, task: revise, with: {topic: Proof}}]
"""
FAILS = """
name: order
inputs:
  card: {type: string, default: ending in 4242}
steps:
  - {id: reserve, agent: writer, task: write, with: {about: 3}, compensate: {agent: writer, task: write}}
  - id: charge
    agent: writer
    task: charge
    with: {card: "${{ inputs.card }}"}
    retry: {max_attempts: 2, delay: 400ms}
  - {id: ship, agent: writer, task: write}
on_failure: [{id: alert, agent: writer, task: write}]
"""
LONG_STEP = "check-every-number-of-each-table-with-the-books-of-last-year"
LONG_WORKFLOW = "a-workflow-whose-name-says-all-of-what-it-does-and-then-goes-on"
LONG_NAMES = f"""
name: {LONG_WORKFLOW}
steps:
  - {{id: {LONG_STEP}, agent: {LONG}, task: translate, with: {{text: {"word" * 60}}}}}
  - parallel:
      - {{id: {LONG_STEP[:-2]}-1, agent: {LONG}, task: translate}}
      - {{id: {LONG_STEP[:-2]}-2, foreach: [1, 2, 3], agent: {LONG}, task: translate}}
  - {{id: ask-{LONG_STEP[:-4]}, wait: {{signal: the-approval-of-the-board-of-the-society}}}}
"""
EVIL = """
name: evil
inputs: {text: {type: string}}
steps:
  - {id: say, when: "${{ inputs.text != '<b>' }}", agent: writer, task: write, with: {about: "${{ inputs.text }}"}}
  - {id: fails, agent: writer, task: charge, with: {card: "${{ inputs.text }}"}}
"""


@contextmanager
def studio(folder: Path) -> Iterator[Team]:
    """The house with its workers, and one agent whose worker has gone."""
    with team(folder, agents=Path(__file__).with_name("studio.py"), lease_s=2.0) as made:
        (folder / "printing.yaml").write_text(PRINTING)
        gone = made.start_worker("printer", pool="threads")
        made.start_worker("planner", "researcher", "writer", "editor", LONG, pool="threads")
        made.kill_worker(gone)
        yield made


class Scenes:
    """Everything there is to see, and under which paths: `pages`, by the names of the pictures."""

    def __init__(self, crew: Team) -> None:
        self.crew = crew
        self.waits = self._submit(REPORT)
        self.failed = self._submit(FAILS)
        self.long = self._submit(LONG_NAMES)
        self.evil = self._submit(EVIL, text=HOSTILE)
        self.held = self._submit("name: proofs\nsteps: [{id: sign, wait: {signal: go}}]")
        self.held.pause()
        self.stopped = self._submit("name: proofs\nsteps: [{id: sign, wait: {signal: go}}]")
        self.stopped.cancel()
        self._submit("name: leaflet\nsteps: [{id: run-off, agent: printer, with: {copies: 40}}]")
        crew.wait_for_state(self.waits, "sign", StepState.WAITING)
        crew.wait_for_state(self.long, f"ask-{LONG_STEP[:-4]}", StepState.WAITING)
        for run in (self.failed, self.evil, self.stopped):
            run.wait(30)
        self._correspond()
        self._hand_over()

    @property
    def pages(self) -> dict[str, str]:
        return {
            "runs": "/workflows",
            "runs-no-hit": "/workflows?status=failed&workflow=tea-report",
            "run": f"/workflows/{self.waits.id}",
            "run-failed": f"/workflows/{self.failed.id}",
            "run-evil": f"/workflows/{self.evil.id}",
            "run-long-names": f"/workflows/{self.long.id}",
            "agents": "/workflows/agents",
            "messages": "/workflows/messages",
            "message": f"/workflows/messages/{self.question}",
            "message-dead": f"/workflows/messages/{self.dead}",
            "thread": f"/workflows/threads/{quote(HOSTILE, safe='')}",
            "dead-letters": "/workflows/messages?status=dead-letters",
            "handoffs": "/workflows/handoffs",
            "handoff": f"/workflows/handoffs/{self.task}",
            "handoff-declined": f"/workflows/handoffs/{self.declined}",
            "error": "/workflows/no-such-run",
        }

    def _submit(self, definition: str, **inputs: str) -> RunHandle:
        file = self.crew.folder / f"{len(list(self.crew.folder.glob('*.yaml')))}.yaml"
        file.write_text(definition)
        return self.crew.client.submit(file, inputs)

    def _correspond(self) -> None:
        client = self.crew.client
        asked = client.send("writer", "Is the chapter about Darjeeling done?", sender="planner", thread_id=HOSTILE)
        self.question = asked.message_id
        client.send("planner", {"chapter": 4, "words": 1800, "note": HOSTILE}, sender="writer", thread_id=HOSTILE)
        client.send("writer", f"{HOSTILE} and a letter that is longer than a row: {'leaf ' * 60}", sender=LONG)
        self.dead = client.send("editor", f"a poem {HOSTILE}", sender="writer", thread_id="poems").message_id
        client.send("editor", "another poem", sender="writer", priority="urgent", thread_id="poems")
        for priority, copies in (("emergency", 1), ("high", 2), ("low", 4)):
            for copy in range(copies):
                client.send("printer", f"Please print page {copy + 1}", priority=priority)
        closed = (MessageState.ACKNOWLEDGED, MessageState.FAILED, MessageState.DEAD)
        wait_until(
            lambda: all(client.message(one).state in closed for one in (self.question, self.dead)),
            what="the messages to be handled", timeout_s=20,
        )  # fmt: skip

    def _hand_over(self) -> None:
        offer = ("handoff", "--from", "writer", "--json")
        topic = json.dumps({"topic": f"The second chapter {HOSTILE}"})
        self.task = self._command(*offer, "editor", "--task", "revise", "--with", topic, "--wait")["task_id"]
        self._command(*offer, "printer", "--task", "issue", "--with", '{"copies": 12}', "--priority", "high")
        self.declined = self._command(*offer, "printer", "--task", "issue", "--with", '{"copies": 100000}')["task_id"]
        self._command("decline", self.declined, "--reason", f"too many copies {HOSTILE}", "--json")

    def _command(self, *words: str) -> Any:
        """Run the command in the folder of the house: a handoff tells where it was offered."""
        command = [sys.executable, "-m", "orchestrator", *words]
        done = subprocess.run(
            command, cwd=self.crew.folder, env=self.crew.environment, check=True, capture_output=True, text=True
        )
        return json.loads(done.stdout)
