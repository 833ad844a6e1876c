"""The result backend: it keeps no results, and it counts chords by asking the store.

A chord is sent as Celery sends it: its body travels with each message of the header. But whether the header is done
is known by the store, which counts it in the script that finishes a step anyway; a second counter would cost 18
commands a header task (docs/decisions/0001) and could disagree.
"""

from __future__ import annotations

from typing import Any

from celery.backends.base import DisabledBackend
from celery.canvas import maybe_signature

#: What `run_step` returns when its step was the last of a chord's header.
JOIN_OPEN = "join open"


class StoreCounted(DisabledBackend):  # type: ignore[misc]
    """No results; the header's last step publishes the body."""

    def ensure_chords_allowed(self) -> None:
        """They are: the store counts them."""

    def apply_chord(self, header_result_args: Any, body: Any, **options: Any) -> None:
        """Nothing to prepare: no counter of Celery's own."""

    def set_chord_size(self, group_id: str, chord_size: int) -> None:
        """Nothing to keep."""

    def on_chord_part_return(self, request: Any, state: str, result: Any, **options: Any) -> None:
        """Publish the chord's body if this step completed the header."""
        if request.chord and result == JOIN_OPEN:
            body = maybe_signature(request.chord, app=self.app)
            body.apply_async(parent_id=request.id, root_id=request.root_id or request.id)
