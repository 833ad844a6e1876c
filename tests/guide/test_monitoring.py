"""The dashboard and the alert rules of deploy/ name metrics that there are, and Prometheus can read what they ask."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
from ruamel.yaml import YAML

from orchestrator.metrics.families import FAMILIES, Family

ROOT = Path(__file__).parents[2]
DASHBOARD = json.loads((ROOT / "deploy/grafana/orchestrator.json").read_text("utf-8"))
RULES = YAML(typ="safe").load(ROOT / "deploy/prometheus/alerts.yml")["groups"][0]["rules"]
DOCS = (ROOT / "docs/metrics.md").read_text("utf-8")
PANELS = DASHBOARD["panels"]
Json = Any


def expressions() -> list[str]:
    """All that dashboard and rules ask, with a value for each variable of Grafana."""
    asked = [target["expr"] for panel in PANELS for target in panel.get("targets", ())]
    filled = [re.sub(r"\$\w+", "5m", expr.replace('=~"$', '=~"')) for expr in asked]
    return [*filled, *(rule["expr"] for rule in RULES)]


def series() -> dict[str, Family]:
    """Name of what can be selected -> its family."""
    found = {}
    for family in FAMILIES:
        ends = ("_bucket", "_sum", "_count") if family.kind == "histogram" else ("",)
        found |= {family.full_name + end: family for end in ends}
    return found


def selectors(expr: Any) -> Iterator[Any]:
    """The selectors in a parsed expression."""
    if isinstance(expr, promql_parser.VectorSelector):
        yield expr
    for name in ("expr", "lhs", "rhs", "param", "vector_selector"):
        if (part := getattr(expr, name, None)) is not None and not isinstance(part, str):
            yield from selectors(part)
    for part in getattr(expr, "args", ()) or ():
        yield from selectors(part)


@pytest.mark.parametrize("text", expressions())
def test_what_is_asked_parses_and_names_metrics_and_labels_that_there_are(text: str) -> None:
    found = list(selectors(promql_parser.parse(text)))
    assert len(found) == len(re.findall("orchestrator_", text)), "each selector is looked at"
    known = series()
    for selector in found:
        assert selector.name in known, selector.name
        matched = {matcher.name for matcher in selector.matchers.matchers}
        assert matched <= {"instance", *known[selector.name].labels}, selector.name


def test_what_is_summed_up_is_summed_by_labels_that_there_are() -> None:
    labels = {label for family in FAMILIES for label in family.labels} | {"instance", "le"}
    for text in expressions():
        for found in re.findall(r"(?:by|on) \(([^)]*)\)", text):
            assert set(found.split(", ")) <= labels, text
        if "_bucket" in text:
            assert re.search(r"histogram_quantile\([\d.]+, sum by \(le, [^)]+\) \(rate\(", text), text


def test_counters_are_never_shown_as_they_are() -> None:
    for family in FAMILIES:
        if family.kind == "counter":
            for text in expressions():
                for at in re.finditer(rf"{family.full_name}\b", text):
                    assert text[: at.start()].endswith(("rate(", "increase(")), text


def test_the_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    ids = [panel["id"] for panel in PANELS]
    assert len(set(ids)) == len(ids)
    for panel in PANELS:
        at = panel["gridPos"]
        assert at["x"] >= 0
        assert at["x"] + at["w"] <= 24
        assert min(at["w"], at["h"]) > 0
    for one, other in itertools.combinations((panel["gridPos"] for panel in PANELS), 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below, (one, other)


def test_each_panel_has_its_title_its_sentence_and_its_source() -> None:
    rows = [panel["title"] for panel in PANELS if panel["type"] == "row"]
    assert rows == ["Overview", "Queues", "Steps", "Messages", "Failures", "Keeper and server"]
    variables = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    for panel in PANELS:
        if panel["type"] == "row":
            continue
        assert panel["title"]
        assert panel["description"].endswith(".")
        refs = [target["refId"] for target in panel["targets"]]
        assert len(set(refs)) == len(refs)
        assert panel["datasource"]["uid"] == "${datasource}"
        used = set(re.findall(r"\$\{?(\w+)", json.dumps(panel)))
        assert used <= variables | {"__rate_interval"}
    assert {variable["name"] for variable in DASHBOARD["templating"]["list"]} == variables
    for variable in DASHBOARD["templating"]["list"][1:]:
        name = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["definition"])
        assert name
        assert name[1] in series()
        assert name[2] in ("instance", *series()[name[1]].labels)


def test_each_alert_waits_says_what_is_and_what_to_do_and_is_in_the_docs() -> None:
    names = [rule["alert"] for rule in RULES]
    assert len(set(names)) == len(names)
    for rule in RULES:
        assert re.fullmatch(r"\d+m", rule["for"])
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert set(rule["annotations"]) == {"summary", "description"}
        assert all(text.endswith(".") for text in rule["annotations"].values())
        assert f"`{rule['alert']}`" in DOCS
    assert set(re.findall(r"`(Orchestrator\w+)`", DOCS)) == set(names)


def test_each_family_is_in_the_docs_with_its_labels_and_no_other_is() -> None:
    rows = re.findall(r"^\| (`orchestrator_.*?`) \| (.*?) \| (.*?) \|", DOCS, re.MULTILINE)
    documented = {}
    for names, kind, labels in rows:
        for name in re.findall(r"`(\w+)`", names):
            documented[name] = (kind, tuple(labels.split(", ")) if labels else ())
    assert documented == {family.full_name: (family.kind, family.labels) for family in FAMILIES}
    assert set(re.findall(r"orchestrator_\w+", DOCS)) <= {*series(), *documented}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed; it comes with Prometheus")
@pytest.mark.parametrize("words", [("check", "config", "prometheus.yml"), ("test", "rules", "alerts_test.yml")])
def test_promtool_finds_nothing_wrong_with_the_rules(words: tuple[str, ...]) -> None:
    done = subprocess.run(
        ["promtool", *words], cwd=ROOT / "deploy/prometheus", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
