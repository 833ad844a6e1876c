"""The kind of agents `shell`: each task is a program, given as a list of words and started without any shell.

The program gets the step's values as JSON on its standard input, never as words of its command line, and prints the
step's output as JSON.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from orchestrator import Agent, Context, StoreUnavailable
from orchestrator.agents.declared import AgentDeclaration, Declaration, TaskName, Timeout, VariableName
from workers.answers import decoded, encoded
from workers.programs import Ended, Limits, run_program

Json = Any
_TOLD_CHARS = 1_800  # of standard error; a stored error holds 2,000 characters


class ProgramFailed(Exception):
    """The program said that it failed; the step's retry policy decides whether it is tried again."""


_WORD_BYTES = 128 * 1024 - 1  # what Linux takes


def _startable(word: str) -> str:
    if "\0" in word:
        raise ValueError("a zero character ends a word, and cannot be in it")
    if len(word.encode()) > _WORD_BYTES:
        raise ValueError(f"a word has at most {_WORD_BYTES:,} bytes; large text goes in as a value of the step")
    return word


def _as_list(words: Json) -> Json:
    if isinstance(words, str):
        raise ValueError(f"must be a list of words, which no shell reads: {json.dumps(words.split())}")
    return words


Word = Annotated[str, AfterValidator(_startable)]


class ShellTask(Declaration):
    """One program. A relative `cwd` starts where the worker was started."""

    argv: Annotated[list[Word], BeforeValidator(_as_list), Field(min_length=1)]
    timeout: Timeout = 300_000
    max_output_bytes: int = Field(8 * 2**20, ge=1)
    max_memory_bytes: int = Field(4 * 2**30, ge=1)
    max_processes: int = Field(512, ge=1)
    cwd: Word = "."


class ShellAgent(AgentDeclaration):
    """`env` names the variables of the worker that its programs may see, besides PATH."""

    env: list[VariableName] = Field(default_factory=list)
    tasks: dict[TaskName, ShellTask] = Field(min_length=1)


def shell_agent(name: str, declaration: Mapping[str, Json]) -> Agent:
    """An agent whose tasks are programs.

    Raises:
        pydantic.ValidationError: the declaration has mistakes. AgentsNotLoadable: the name cannot be used.
    """
    declared = ShellAgent.model_validate(declaration)
    agent = Agent(name, capabilities=declared.capabilities, concurrency=declared.concurrency)
    for task_name, task in declared.tasks.items():
        _add(agent, task_name, task, tuple(declared.env))
    return agent


def _add(agent: Agent, name: str, task: ShellTask, env: tuple[str, ...]) -> None:
    # The underscore: a value called `ctx` is the step's own.
    @agent.task(name=name)
    def run(_ctx: Context, **values: Json) -> Json:
        ended = run_program(
            task.argv,
            feed=encoded(values),
            env={variable: os.environ[variable] for variable in (*env, "PATH") if variable in os.environ},
            cwd=task.cwd,
            limits=Limits(task.timeout / 1000, task.max_output_bytes, task.max_memory_bytes, task.max_processes),
            cancelled=lambda: _cancelled(_ctx),
        )
        if ended.code:
            raise ProgramFailed(_complaint(task.argv[0], ended))
        return decoded(ended.output, task.argv[0])


def _cancelled(ctx: Context) -> bool:
    try:
        return ctx.cancelled
    except StoreUnavailable:  # a server that restarts is no reason to end a program
        return False


def _complaint(program: str, ended: Ended) -> str:
    code = f"exit code {ended.code}" if ended.code > 0 else f"signal {_signal_name(-ended.code)}"
    said = (ended.complaints.strip() or ended.output.strip()).decode("utf-8", "replace")
    if len(said) > _TOLD_CHARS:
        said = said[-_TOLD_CHARS:]
        said = said.partition("\n")[2] or said
    return f"{program} ended with {code}: {said or 'it said nothing'}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
