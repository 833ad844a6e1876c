"""Random workflows: any mix of steps, containers and decisions, nested, with children in files of their own.

A workflow is drawn so that how it ends does not depend on who is faster. A step may fail what is around it only where
nothing runs beside it; elsewhere failures are taken with `on_error: continue`, and conditions cannot fail. What is
`sequential` from end to end runs its attempts in exactly one order.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

from hypothesis import strategies as st

RUN_IFS = ("none_failed", "all_success", "any_success", "all_done", "always")
AGENTS = ("hand", "many", "solo")
SIGNALS = {"blue": {"n": 3}, "red": [1, "two", None], "grey": None}
TEXTS = ("", "ü\n\"'", "$${{ no }}")
LITERALS: tuple[Any, ...] = (*TEXTS, 0, 7, -1.5, 2**53 + 1, None, True, [], {}, [[], {}], {"n": 1, "list": [1, 2]})
MAX_TIMES = 12  # how often a step may run, as a product of the loops and foreach around it
MAX_DEPTH = 4
Json = Any
Shapes = dict[str, str]


@dataclass(frozen=True)
class Generated:
    """A workflow, the workflows it runs, and the signals that it gets. The first file is the workflow."""

    files: dict[str, str]
    signals: dict[str, Json]
    sequential: bool

    def write(self, folder: Path) -> Path:
        for name, text in self.files.items():
            (folder / name).write_text(text)
        return folder / next(iter(self.files))


@st.composite
def workflows(draw: st.DrawFn, max_steps: int = 40) -> Generated:
    """A workflow with its files.

    Hypothesis gives the seed only: its own draws come in families of much the same workflow, and rare constructs stay
    out of most of them. They shrink, but live workers make that a matter of hours.
    """
    chance = draw(st.randoms(use_true_random=True))
    files = _Files(chance)
    sequential = chance.random() < 0.5
    files.add("main", chance.randint(min(8, max_steps), max_steps), _Place(sequential))
    return Generated(files.texts, SIGNALS, sequential)


@dataclass(frozen=True)
class _Place:
    """Where steps stand.

    `sequential`: nothing of any run can run at the same time, `alone`: nothing of the same run, `hard`: nothing of the
    same body, so that a failure has one outcome. `free`: among steps that run beside one another and may need one
    another.
    """

    sequential: bool
    hard: bool = True
    alone: bool = True
    free: bool = False
    phase: str = "main"
    loop: list[str] | None = None  # steps of the innermost loop so far, of which a round reads what they were before
    item: bool = False  # in a foreach
    each: bool = False  # in one that is inside of the loop: no other round reads what is in there
    times: int = 1
    depth: int = 0

    def beside(self) -> _Place:
        """Among others that run at the same time."""
        return replace(self, sequential=False, alone=False, hard=False, free=True)

    def deeper(self) -> _Place:
        return replace(self, depth=self.depth + 1)


@dataclass
class _Scope:
    """Steps that may need one another: `needable` maps an id to what is readable after it, `base` is readable anyway.

    `begun`: they come after others of the same body, so each has to need one of them.
    """

    base: Shapes
    begun: bool = False
    needable: dict[str, Shapes] = field(default_factory=dict)


class _Files:
    """The texts of a workflow and of those it runs; a later one never runs an earlier one."""

    def __init__(self, chance: Random) -> None:
        self.chance = chance
        self.texts: dict[str, str] = {}

    def add(self, stem: str, steps: int, place: _Place, depth: int = 0) -> str:
        """Draw one workflow; returns the name of its file."""
        name = f"{stem}-{len(self.texts)}.yaml" if self.texts else f"{stem}.yaml"
        self.texts[name] = ""
        self.texts[name] = _Writer(self, steps, depth).write(place)
        return name


class _Writer:
    """Draws one file. Shapes say what an output is: `n` has a field n, `items` also a list; `list`, `any`, `none`."""

    def __init__(self, files: _Files, steps: int, depth: int) -> None:
        self.files = files
        self.chance = files.chance
        self.left = steps
        self.depth = depth  # in workflows that run workflows
        self.ids = 0
        self.free = False  # no step can fail the run, so what goes on after its container can go on to its end

    def write(self, place: _Place) -> str:
        self.free = not place.sequential and self._often(25)
        main, shown = self._block(place.beside() if self.free else place, _Scope({}), {}, self.left)
        text = f"name: {'child' if self.depth else 'generated'}\ntimeout: 10m\n"
        text += 'inputs: {x: {type: any, default: {"n": 5}}}\n'
        if self._often(20):
            text += "defaults: {retry: {max_attempts: 2, delay: 1ms}, timeout: 5m}\n"
        text += _steps("steps", main)
        for phase in ("on_failure", "finally"):
            if self._often(40):
                self.left = max(self.left, 3)
                ending = _Place(place.sequential, phase=phase, depth=MAX_DEPTH - 1)
                text += _steps(phase, self._block(ending, _Scope(shown), shown, 3)[0])
        return text + f"outputs: {json.dumps(self._outputs(shown))}\n"

    def _outputs(self, shown: Shapes) -> Json:
        outputs: dict[str, Json] = {"n": "${{ inputs.x }}"}
        for name in self.chance.sample(sorted(shown), self.chance.randint(0, min(5, len(shown)))):
            outputs[name] = [f"${{{{ steps.{name}.{part} }}}}" for part in ("status", "output", "attempts")]
        with_n = [name for name, shape in shown.items() if shape in ("n", "items")]
        if with_n and self._often(10):  # of a step that may not have succeeded: then the run fails at its very end
            outputs["late"] = f"${{{{ steps.{self.chance.choice(with_n)}.output.n }}}}"
        return outputs

    # --- blocks and containers -------------------------------------------------------------------------------

    def _block(self, place: _Place, scope: _Scope, known: Shapes, longest: int) -> tuple[list[Json], Shapes]:
        """A sequence of steps, and what is readable after it that was not before."""
        steps: list[Json] = []
        gives: Shapes = {}
        while self.left > 0 and len(steps) < longest:
            step, known, more = self._step(place, scope, known)
            steps.append(step)
            gives |= more
        return steps or [{"id": self._id(), "set": {"n": 0}}], gives

    def _step(self, place: _Place, scope: _Scope, known: Shapes) -> tuple[Json, Shapes, Shapes]:
        """A step, what the one after it may read, and which part of that comes from this one."""
        self.left -= 1
        name = self._id()
        step: dict[str, Json] = {"id": name}
        if place.free and scope.needable and self._often(60):
            names = sorted(scope.needable)
            needs = self.chance.sample(names, self.chance.randint(int(scope.begun), min(4, len(names))))
            step["needs"] = needs
            known = dict(scope.base)
            for need in needs:
                known |= scope.needable[need]
            if needs and self._often(40):
                step["run_if"] = self.chance.choice(RUN_IFS)
        kinds = ["task"] * 8 + ["set"] * 3 + ["each"] * 2 + ["wait"] * 2
        if self.left > 0 and place.depth < MAX_DEPTH:
            kinds += ["parallel", "steps", "switch", "switch"]
            kinds += ["loop", "loop", "foreach", "foreach"] if place.times * 2 <= MAX_TIMES else []
            kinds += ["race"] * (4 if self.free and place.free else 1)
        kinds += ["end"] if place.alone and place.phase == "main" and self.ids > 9 else []
        if self.left > 0 and self.depth < 2 and place.phase == "main" and place.times <= 4:
            kinds += ["workflow"] * (2 + 4 * self.depth)
        kind = self.chance.choice(kinds)
        if self._often(15):
            step["when"] = self._condition(place, known)
        gives: Shapes = getattr(self, f"_{kind}")(step, place, scope, known)
        scope.needable[name] = gives
        if place.loop is not None and not place.each and kind in ("task", "set", "wait", "each"):
            place.loop.append(name)
        if place.free and kind in ("parallel", "steps") and not step.keys() & {"needs", "when", "run_if"}:
            known = scope.base  # a step inside with needs of its own does not wait for the step above its container
        return step, {**known, **gives}, gives

    def _parallel(self, step: Json, place: _Place, scope: _Scope, known: Shapes) -> Shapes:
        branches, gives = [], Shapes()
        width = 1 if place.sequential else self.chance.randint(1, 4)
        inside = (place.beside() if width > 1 else place).deeper()
        scope = scope if place.free or width == 1 else _Scope(known, begun=True)
        for _ in range(width):
            block, more = self._block(inside, scope, known, self.chance.randint(1, 4))
            branches.append(block[0] if len(block) == 1 else {"steps": block})
            gives |= more
        step["parallel"] = branches
        return gives

    def _race(self, step: Json, place: _Place, scope: _Scope, known: Shapes) -> Shapes:
        """One branch is enough, and it is always the same: the other waits for ever, or goes on whoever is first."""
        quick, waits, last = self._id(), self._id(), self._id()
        works: Json = {"agent": self.chance.choice(AGENTS), "task": "mix", "with": {"values": [quick]}}
        works = self.chance.choice([works, {"set": {"n": 1}}])
        goes_on = self.free and place.free and place.loop is None and not place.item and self._often(50)
        wait = {"for": "4ms"} if goes_on else {"signal": "never"}
        branches = [{"id": quick, **works}, {"steps": [{"id": waits, "wait": wait}, {"id": last, "set": {"n": 2}}]}]
        step |= {"parallel": self.chance.sample(branches, 2), "enough": 1}
        if goes_on:
            step["rest"] = "finish"
            return {}  # how far it is by then, nobody knows
        return {quick: "n", waits: "any", last: "n"}

    def _end(self, step: Json, place: _Place, scope: _Scope, known: Shapes) -> Shapes:
        step["end"] = {"status": self.chance.choice(["succeeded", "failed"])}
        if self._often(50):
            step["end"]["message"] = f"after {self._number(place, known)}"
        step["when"] = self._condition(place, known)
        return {}

    def _steps(self, step: Json, place: _Place, scope: _Scope, known: Shapes) -> Shapes:
        step["steps"], gives = self._block(place.deeper(), scope, known, self.chance.randint(1, 4))
        return gives

    def _switch(self, step: Json, place: _Place, scope: _Scope, known: Shapes) -> Shapes:
        branches, gives = [], Shapes()
        for _ in range(self.chance.randint(1, 3)):
            block, more = self._block(place.deeper(), scope, known, self.chance.randint(1, 3))
            branches.append({"when": self._condition(place, known), "steps": block})
            gives |= more
        if self._often(40):
            block, more = self._block(place.deeper(), scope, known, 2)
            branches.append({"default": True, "steps": block})
            gives |= more
        step["switch"] = branches
        return gives

    def _body(self, place: _Place, known: Shapes, times: int, **inside: Json) -> tuple[list[Json], Shapes]:
        """What runs once per round or item: failures stay in it, so that inside a sequence they have one outcome."""
        alone = inside.pop("alone", True) and place.alone
        body = replace(place, hard=True, alone=alone, free=False, times=place.times * times, **inside).deeper()
        if not place.sequential and self._often(20):
            body = body.beside()
        return self._block(body, _Scope(known), known, self.chance.randint(1, 4))

    def _loop(self, step: Json, place: _Place, scope: _Scope, known: Shapes) -> Shapes:
        rounds = self.chance.choice([1, 2, 2, 3])
        inner: list[str] = []
        step["steps"], gives = self._body(place, known, rounds, loop=inner, each=False)
        counters = [name for name in inner if gives.get(name) == "n"]
        last = f"round.index >= {self.chance.randint(0, rounds)}"
        untils = [last, "true", *[f"round.index == {rounds - 1}"] * 3]
        untils += [f"steps.{name}.status == 'succeeded'" for name in inner[-1:] if name in gives]
        untils += [f"steps.{name}.output.n % 2 == 0" for name in counters[-1:]]
        step["loop"] = {"until": f"${{{{ {self.chance.choice(untils)} }}}}", "max_iterations": rounds}
        if self._often(30):
            step["loop"]["delay"] = self.chance.choice(["1ms", "4ms"])
        self._soften(step, place)
        return {**gives, step["id"]: "none"}

    def _foreach(self, step: Json, place: _Place, scope: _Scope, known: Shapes) -> Shapes:
        self._items(step, place, known)
        alone = step.get("max_parallel") == 1
        step["steps"], _ = self._body(place, known, 3, item=True, each=True, alone=alone)
        if step["on_item_error"] == "collect" and '"workflow"' in json.dumps(step["steps"]):
            step["on_item_error"] = "skip"  # what is collected names the child run
        self._soften(step, place)
        return {step["id"]: "list"}

    # --- leaves ----------------------------------------------------------------------------------------------

    def _set(self, step: Json, place: _Place, scope: _Scope, known: Shapes) -> Shapes:
        values = [self._value(place, known), {"deep": self._value(place, known)}]
        step["set"] = {"n": self._number(place, known), "list": values}
        self._soften(step, place)
        return {step["id"]: "items"}

    def _wait(self, step: Json, place: _Place, scope: _Scope, known: Shapes) -> Shapes:
        waits: list[Json] = [{"for": "2ms"}, {"for": "${{ '3ms' }}"}, {"until": "2020-01-01T00:00:00Z"}]
        waits += [{"signal": name, "timeout": "1h"} for name in SIGNALS] + [{"signal": "blue"}]
        waits += [{"signal": "never", "timeout": "3ms", "on_timeout": end} for end in ("continue", "fail")]
        step["wait"] = self.chance.choice(waits)
        self._soften(step, place)
        return {step["id"]: "any"}

    def _workflow(self, step: Json, place: _Place, scope: _Scope, known: Shapes) -> Shapes:
        steps = self.chance.randint(min(3, self.left), min(8, self.left))
        self.left -= steps
        own = _Place(place.sequential, times=place.times * 2, depth=1)
        step["workflow"] = self.files.add("child", steps, own, self.depth + 1)
        inside = place
        if place.times <= 2 and self._often(30):
            self._items(step, place, known)
            step["on_item_error"] = "fail" if step["on_item_error"] == "fail" else "skip"  # see _foreach
            inside = replace(place, item=True)
        if self._often(70):
            step["with"] = {"x": self._value(inside, known)}
        if self._often(30):
            step["retry"] = {"max_attempts": 2, "delay": "1ms"}
        self._compensated(step, inside)
        self._soften(step, place)
        return {step["id"]: "list" if "foreach" in step else "n"}

    def _each(self, step: Json, place: _Place, scope: _Scope, known: Shapes) -> Shapes:
        self._items(step, place, known)
        self._task(step, place, scope, known, replace(place, item=True))
        if self._often(30):
            step["with"]["broken"] = "${{ index == 1 }}"
        return {step["id"]: "list"}

    def _task(self, step: Json, place: _Place, scope: _Scope, known: Shapes, inside: _Place | None = None) -> Shapes:
        inside = inside or place
        step |= {"capability": "lifting"} if self._often(8) else {"agent": self.chance.choice(AGENTS)}
        values = [self._value(inside, known) for _ in range(self.chance.randint(0, 2))]
        step |= {"task": "mix", "with": {"values": values}}
        mood = self.chance.choice(["well"] * (18 if place.hard else 8) + ["flaky"] * 3 + ["broken"])
        if mood != "well":
            step["with"][mood] = True
        if self._often(60 if mood == "flaky" else 15):
            step["retry"] = {"max_attempts": self.chance.randint(2, 3), "delay": "1ms"}
            step["retry"] |= {"give_up_on": ["ValueError"]} if self._often(20) else {"max_delay": "2ms", "jitter": True}
        if self._often(60 if mood != "well" else 5):
            step["fallback"] = {"agent": self.chance.choice(AGENTS), "task": "mix"}
        if self._often(15):
            step["priority"] = self.chance.choice(["low", "high", "emergency"])
        if self._often(12):
            key = self.chance.choice(["${{ run.id }}", f"all-{step['id']}-${{{{ run.id }}}}"])
            most = {"key": f"most-{key}", "max": self.chance.randint(1, 3)}
            step["limits"] = [{"key": f"rate-{key}", "rate": "1000/1m"}, most]
        elif self._often(5):
            step["limits"] = [{"key": "everybody", "max": 50}]
        if place.sequential and self._often(20):  # beside one another, who is first would fill the cache
            step["cache"] = {"key": self.chance.choice(["a ${{ run.id }}", "b ${{ run.id }}"]), "ttl": "1h"}
        if self._often(15):
            fields = self.chance.choice([["n"]] * (8 if place.hard else 3) + [["missing"]])
            step["output_schema"] = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": fields}
        self._compensated(step, inside)
        self._soften(step, place)
        return {step["id"]: "n"}

    def _compensated(self, step: Json, inside: _Place) -> None:
        if inside.phase != "main" or not self._often(75 if inside.loop is not None else 25):
            return
        values = [f"${{{{ steps.{step['id']}.output }}}}", *(["${{ item }}"] if inside.item else [])]
        undo: dict[str, Json] = {"agent": self.chance.choice(AGENTS), "task": "mix", "with": {"values": values}}
        mood = self.chance.choice(["well", "well", "well", "flaky", "broken"])
        if mood != "well":
            undo["with"][mood] = True
        if mood == "flaky":
            undo["retry"] = {"max_attempts": 2, "delay": "1ms"}
        step["compensate"] = undo

    def _items(self, step: Json, place: _Place, known: Shapes) -> None:
        lists = [f"${{{{ steps.{name}.output }}}}" for name, shape in known.items() if shape == "list"]
        lists += [f"${{{{ steps.{name}.output.list }}}}" for name, shape in known.items() if shape == "items"]
        if lists and self._often(30):
            step["foreach"] = self.chance.choice(lists)
        else:
            step["foreach"] = self.chance.choices([0, 1, 2.5, "x", None, [1], {"n": 1}], k=self.chance.randint(0, 3))
        if place.sequential or self._often(50):
            step["max_parallel"] = 1 if place.sequential else self.chance.randint(1, 3)
        calm = step.get("max_parallel") == 1  # so when an item fails, those before it are done, the others not begun
        step["on_item_error"] = self.chance.choice(["fail", "collect", "skip"] if calm else ["collect", "skip"])
        if calm and self._often(25):
            step["enough"] = self.chance.randint(1, 2)

    # --- conditions and values -------------------------------------------------------------------------------

    def _soften(self, step: Json, place: _Place) -> None:
        """Take a failure where it would stop what runs beside."""
        if not place.hard or self._often(30):
            step["on_error"] = "continue"

    def _condition(self, place: _Place, known: Shapes) -> Json:
        """One that cannot fail, except where that has one outcome."""
        found = ["true", "1 < 2", "1 < 2"]
        for name in self._some(known):
            found += [f"steps.{name}.{what}" for what in ("status == 'succeeded'", "attempts < 2", "error == null")]
            if known[name] == "n" and place.hard and self._often(20):
                found.append(f"steps.{name}.output.n > 50")
        if place.loop is not None:
            found += ["round.index == 0", "round.index > 0", "round.previous == null"]
        if place.item:
            found += ["index == 0", "item != null", "index % 2 == 1"]
        text = self.chance.choice(found)
        return self._often(50) if text == "true" else f"${{{{ {text} }}}}"

    def _value(self, place: _Place, known: Shapes) -> Json:
        """A literal, or what is readable here; to read `n` of nothing is a mistake that fails the step."""
        found: list[str] = ["inputs.x", "run.workflow"]
        for name in self._some(known):
            found += [f"steps.{name}.{part}" for part in ("status", "output", "output", "attempts")]
            found.append(f"steps.{name}.error == null ? 'none' : steps.{name}.error.type")
            found += [f"steps.{name}.output.n"] if known[name] in ("n", "items") and self._often(30) else []
        if place.loop is not None:
            found += ["round.index", "round.index"]
            found += [f"round.previous == null ? null : round.previous.{name}.output" for name in place.loop[-2:]]
            found += [f"round.previous == null ? '' : round.previous.{name}.status" for name in place.loop[-1:]]
        if place.item:
            found += ["item", "item", "index"]
        if place.phase != "main":
            found += ["run.error == null ? '' : run.error.type", "run.error == null ? '' : run.error.step"]
        if self._often(25):
            return self.chance.choice(LITERALS)
        text = f"${{{{ {self.chance.choice(found)} }}}}"
        return f"as text: {text}" if self._often(10) else text

    def _number(self, place: _Place, known: Shapes) -> Json:
        found: list[Json] = [1, 60, *(["${{ round.index * 2 }}"] * 2 if place.loop is not None else [])]
        found += ["${{ index + 1 }}"] if place.item else []
        found += [f"${{{{ steps.{name}.attempts + 1 }}}}" for name in self._some(known)]
        return self.chance.choice(found)

    def _some(self, known: Shapes) -> list[str]:
        """The newest of what is readable, and one that is older."""
        names = list(known)
        return names[-3:] + ([self.chance.choice(names[:-3])] if len(names) > 3 else [])

    def _often(self, percent: int) -> bool:
        return self.chance.randint(0, 99) < percent

    def _id(self) -> str:
        self.ids += 1
        return f"s{self.ids}"


def _steps(key: str, steps: list[Json]) -> str:
    return f"{key}:\n" + "".join(f"  - {json.dumps(step)}\n" for step in steps)
