"""A folder for each chapter's workflow files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest


@pytest.fixture
def workflow(tmp_path: Path) -> Callable[[str], Path]:
    """`workflow(text)` writes a workflow file."""

    def write(text: str) -> Path:
        file = tmp_path / "workflow.yaml"
        file.write_text(dedent(text))
        return file

    return write
