"""Hostile definition files: refused at once, with little memory, in one line for each mistake."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from orchestrator.errors import WorkflowInvalid
from orchestrator.settings import Settings
from orchestrator.workflow.file_text import read_text
from orchestrator.workflow.loader import load_workflow
from tests.hostile.cases import Case
from tests.hostile.measuring import compile_apart
from tests.unit.workflow.texts import problems_of

MOST_CPU_S = 0.05
MOST_MIB = 20


def refused(folder: Path, text: str | bytes, *words: str) -> list[str]:
    """The mistakes of a text, which is refused within the limits; each of the words is in one of them."""
    refusal = compile_apart(folder, text)
    assert refusal.problems, "it was not refused"
    assert refusal.cpu_s < MOST_CPU_S
    assert refusal.memory_mib < MOST_MIB
    assert all(len(problem) < 1000 and "\n" not in problem for problem in refusal.problems)
    for word in words:
        assert any(word in problem for problem in refusal.problems), (word, refusal.problems)
    assert not list(Path.cwd().glob("pwned-*"))
    return refusal.problems


def refused_in_all_variants(folder: Path, case: Case, *words: str) -> None:
    for text in case.variants:
        refused(folder, text, *words)


@pytest.mark.hostile("Y-01")
def test_a_bomb_of_aliases_is_refused_where_it_grows_too_large(case: Case, tmp_path: Path) -> None:
    refused_in_all_variants(tmp_path, case, "bad.yaml:6: has more than 200,000 values, aliases counted")


@pytest.mark.hostile("Y-02")
def test_merge_keys_merge_nothing(case: Case, tmp_path: Path) -> None:
    refused_in_all_variants(tmp_path, case, "has more than 200,000 values, aliases counted")
    refused(tmp_path, "name: x\nsteps:\n- &a {id: a, set: {}}\n- {<<: *a, id: b}\n", "merge keys (`<<`) are no part")


@pytest.mark.hostile("Y-03")
def test_nothing_contains_itself(case: Case, tmp_path: Path) -> None:
    refused_in_all_variants(tmp_path, case, "bad.yaml:3: *s stands for nothing yet")


@pytest.mark.hostile("Y-04")
def test_brackets_are_counted_before_anything_is_built(case: Case, tmp_path: Path) -> None:
    refused_in_all_variants(tmp_path, case, "bad.yaml:1: is no YAML: brackets are nested deeper than 200")
    refused(tmp_path, '{"a":' * 30_000, "nested deeper than 200")


@pytest.mark.hostile("Y-05")
def test_mappings_are_nested_so_deep_and_no_deeper(case: Case, tmp_path: Path) -> None:
    refused_in_all_variants(tmp_path, case, "bad.yaml:202: is nested deeper than 200")


@pytest.mark.hostile("Y-06")
def test_a_tag_makes_no_call(case: Case, tmp_path: Path) -> None:
    refused_in_all_variants(tmp_path, case, "2: the tag tag:yaml.org,2002:python/object/apply:os.system is")


@pytest.mark.hostile("Y-07")
def test_a_tag_makes_no_object(case: Case, tmp_path: Path) -> None:
    refused_in_all_variants(tmp_path, case, "bad.yaml:2: the tag tag:yaml.org,2002:python/object/new:tuple is not")


def test_a_tag_without_end_is_refused_at_its_start(tmp_path: Path) -> None:
    refused(tmp_path, "v: !" + "a" * 1_000_000, "a tag is longer than 256 characters")


@pytest.mark.hostile("Y-09")
def test_a_key_stands_once(case: Case, tmp_path: Path) -> None:
    refused_in_all_variants(tmp_path, case, "bad.yaml:5: the key 'agent' is there twice; the first one is in line 4")
    key = "? " + "k" * 200_000 + "\n: 1\n"
    refused(tmp_path, key + key, "kkk... is there twice")


@pytest.mark.hostile("Y-11")
def test_a_number_fits_into_64_bits(case: Case, tmp_path: Path) -> None:
    refused_in_all_variants(tmp_path, case, "bad.yaml:2: 999", "does not fit into 64 bits")


@pytest.mark.hostile("Y-15")
def test_a_file_has_so_many_bytes_values_and_steps(case: Case, tmp_path: Path) -> None:
    refused_in_all_variants(tmp_path, case, "is larger than 1,048,576 bytes")
    for many in ("[" + "1," * 500_000 + "]", "\n".join(["- 1"] * 250_000), "[" + "{a}," * 250_000 + "]"):
        refused(tmp_path, f"name: x\nv: {many}", "has more than 200,000 lines, commas and brackets")


@pytest.mark.parametrize("one", ["- {id: s%d, set: {}}\n", "- *a  # %d\n"])
def test_too_many_steps_are_the_only_mistake_told(one: str) -> None:
    text = "- &a {id: a, set: {needs: [nobody]}}\n" + "".join(one % at for at in range(10_000))
    assert [problem.message for problem in problems_of(text)] == ["has 10,001 steps; the limit is 10,000"]


def test_a_thousand_mistakes_are_told_and_no_more(tmp_path: Path) -> None:
    text = "name: x\nsteps:\n- {id: a, set: {}, " + "".join(f"k{at}: 1, " for at in range(3000)) + "}\n"
    refusal = compile_apart(tmp_path, text)
    assert len(refusal.problems or ()) == 1000


@pytest.mark.hostile("Y-16")
def test_a_cycle_is_shown(case: Case, tmp_path: Path) -> None:
    refused_in_all_variants(tmp_path, case, "a -> b -> c -> a")


@pytest.mark.hostile("Y-17")
def test_a_step_that_needs_itself_and_one_that_is_not_there_are_both_told(case: Case, tmp_path: Path) -> None:
    refused_in_all_variants(tmp_path, case, "a -> a", "no step 'ghost'")


@pytest.mark.hostile("Y-18")
def test_a_letter_that_looks_like_another_is_named(case: Case, tmp_path: Path) -> None:
    refused_in_all_variants(tmp_path, case, "bad.yaml:4: steps.1.id:", "U+0430")


@pytest.mark.hostile("Y-19")
def test_letters_that_nobody_sees_are_not_in_names(case: Case, tmp_path: Path) -> None:
    for problem in (refused(tmp_path, text, "U+202E") for text in case.variants):
        assert not {"\u202e", "\u200b", "\u2066"} & set("".join(problem))


@pytest.mark.hostile("Y-21")
def test_a_file_is_utf_8(case: Case, tmp_path: Path) -> None:
    refused_in_all_variants(tmp_path, case, "is not UTF-8 text")
    assert compile_apart(tmp_path, b"\xef\xbb\xbfname: x\nsteps: [{id: a, set: {}}]\n").problems is None


@pytest.mark.hostile("Y-24")
def test_a_file_is_a_mapping(case: Case, tmp_path: Path) -> None:
    found = [refused(tmp_path, text)[0].partition(": ")[2] for text in case.variants]
    mapping = "a workflow file is a mapping that starts with `name:` and has `steps:`"
    assert found == ["is empty"] * 3 + [f"{mapping}, and this is {what}" for what in ("text", "a list", "a number")] + [
        f"{mapping}, and this is nothing"
    ]


@pytest.mark.hostile("Y-25")
def test_keys_are_text(case: Case, tmp_path: Path) -> None:
    refused_in_all_variants(tmp_path, case, "bad.yaml:3: a key must be plain text")
    refused(tmp_path, "name: x\n1.5: z\n", "bad.yaml:2: the key 1.5 is no text")


@pytest.mark.hostile("Y-26")
def test_an_unknown_key_is_no_comment(case: Case, tmp_path: Path) -> None:
    refused_in_all_variants(tmp_path, case, "'agnet' (did you mean agent?)", "unknown key '__class__'", "'timeout_'")


@pytest.mark.hostile("Y-27")
def test_every_number_out_of_range_is_told(case: Case, tmp_path: Path) -> None:
    words = ("-1 is no duration", "'retries'", "'backoff'", "priority: 99", "'concurrency'")
    refused_in_all_variants(tmp_path, case, *words)


@pytest.mark.hostile("Y-28")
def test_types_are_not_guessed(case: Case, tmp_path: Path) -> None:
    words = ("id: must be text", "agent: must be text", "'5' is no duration", "'optional'")
    refused_in_all_variants(tmp_path, case, *words)


@pytest.mark.hostile("Y-30")
def test_a_workflow_runs_neither_itself_nor_what_lies_elsewhere(tmp_path: Path) -> None:
    folder = tmp_path / "flows"
    folder.mkdir()
    outside = tmp_path / "outside.yaml"
    outside.write_text("name: x\nsteps: [{id: a, set: {}}]\n")
    (folder / "link.yaml").symlink_to(outside)
    (folder / "loop.yaml").symlink_to("loop.yaml")

    def told(name: str) -> list[str]:
        text = f"name: x\nsteps: [{{id: w, workflow: {name}}}]\n"
        (folder / "a.yaml").write_text(text)
        return [problem.message for problem in problems_of(text, file=folder / "a.yaml")]

    (folder / "b.yaml").write_text("name: b\nsteps: [{id: w, workflow: a.yaml}]\n")
    assert told("b.yaml") == ["the workflow runs itself: a.yaml -> b.yaml -> a.yaml"]
    names = ("../outside.yaml", "../flows/b.yaml", "../../../../etc/passwd", str(outside), "/etc/passwd", "link.yaml")
    for name in (*names, "loop.yaml", '"a\\0b"'):
        (found,) = told(name)
        assert found.endswith("leads out of the folder of this file; put it inside")


@pytest.mark.hostile("Y-31")
@pytest.mark.timeout(20)
def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("nowhere")
    kinds = {
        tmp_path / "pipe": "is no regular file",
        Path("/dev/zero"): "is no regular file",
        tmp_path: "is a folder",
        tmp_path / "loop": "cannot be read: Too many levels of symbolic links",
        tmp_path / "dangling": "no such file",
    }
    for path, words in kinds.items():
        with pytest.raises(WorkflowInvalid) as caught:
            load_workflow(path)
        assert words in caught.value.message
    refused(tmp_path, "a: \x00", "bad.yaml:1: the character U+0000 is not allowed")


@pytest.mark.hostile("N-13")
def test_the_file_that_was_found_is_the_file_that_is_read(tmp_path: Path) -> None:
    child, other, secret = tmp_path / "child.yaml", tmp_path / "other", tmp_path / "secret"
    secret.write_text("CANARY-n13")
    child.write_text("fine")

    def swap() -> None:
        for _ in range(1000):
            other.write_text("fine")
            os.replace(other, child)
            other.symlink_to(secret)
            os.replace(other, child)

    swapping = threading.Thread(target=swap)
    swapping.start()
    seen: set[str] = set()
    while swapping.is_alive():
        try:
            seen.add(read_text(child, 1000, links=False))
        except WorkflowInvalid as error:
            seen.add(error.message)
    assert seen == {"fine", f"{child}: cannot be read: Too many levels of symbolic links"}


def test_a_text_is_so_long_and_no_longer(tmp_path: Path) -> None:
    text = "name: x\nsteps: [{id: a, set: {text: " + "x" * 262_145 + "}}]\n"
    refused(tmp_path, text, "bad.yaml:2: a text of 262,145 characters; the limit is 262,144")
    assert compile_apart(tmp_path, text.replace("xx", "x", 1)).problems is None


def test_a_pattern_cannot_take_for_ever(tmp_path: Path) -> None:
    steep = f'{{type: string, pattern: "(a+)+$", default: "{"a" * 60}b"}}'
    text = f"name: x\ninputs: {{a: {steep}}}\nsteps: [{{id: a, set: {{}}}}]"
    refused(tmp_path, text, "inputs.a.default:", "does not match (a+)+$")


@pytest.mark.parametrize("reference", ["http://127.0.0.1:9/x", "file:///etc/passwd", "other.json"])
def test_a_schema_fetches_nothing(reference: str) -> None:
    (found,) = problems_of(f'- {{id: a, agent: clerk, output_schema: {{properties: {{x: {{$ref: "{reference}"}}}}}}}}')
    assert "leads out of the schema; put what it means under `$defs`" in found.message


def test_a_definition_may_be_larger_where_the_setting_says_so() -> None:
    text = "name: x\n# " + "x" * (1 << 20) + "\nsteps: [{id: a, set: {}}]\n"
    assert load_workflow("x", text=text, limits=Settings(max_definition_bytes=2 << 20)).spec.name == "x"
