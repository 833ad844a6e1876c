"""The agents of the storm. Their handler notes each message it gets in a file of its process, checks it, and fails
where the text says so.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from zlib import crc32

from orchestrator import Agent, AgentMessage

NOTES = "STORM_NOTES"  # name of the variable that holds the folder of the notes
FAILS, WORKS = "F", "."  # what a text starts with; then eight hex digits, the checksum of the rest

amber = Agent("amber", concurrency=1)
birch = Agent("birch", concurrency=1)
cedar = Agent("cedar", concurrency=1)
dune = Agent("dune", concurrency=1)
AGENTS = (amber, birch, cedar, dune)


def text_of(rest: str, *, fails: bool) -> str:
    """The text of a message."""
    return f"{FAILS if fails else WORKS}{crc32(rest.encode()):08x}{rest}"


@amber.on_message
@birch.on_message
@cedar.on_message
@dune.on_message
def take(message: AgentMessage) -> None:
    with Path(os.environ[NOTES], str(os.getpid())).open("ab", buffering=0) as notes:
        notes.write(message.message_id.encode() + b"\n")  # one write: a kill leaves a whole line or none
    text = message.text or ""
    if text[1:9] != f"{crc32(text[9:].encode()):08x}":
        raise ValueError(f"the text of {message.message_id} has changed on its way")  # a dead letter that is not marked
    if text[0] == FAILS:
        raise ValueError("as marked")
    time.sleep(len(text) % 5 / 1000)  # some work, so that kills hit handlers too
