"""The messages that were sent lately, the newest first, as the journal remembers them. It changes nothing.

The store has no list of all messages: an inbox holds what waits, and the rest is found by its id. The journal has the
id of each message that was sent, so that a page of them costs as much as the entries that are looked at.
"""

from __future__ import annotations

import re
from typing import Any

from orchestrator.errors import MessageInvalid
from orchestrator.records import MessageRecord
from orchestrator.states import MessageState
from orchestrator.store.keys import Keys
from orchestrator.store.letters import Letters

_PAGE = 1000
LOOKED_AT = 10_000  # entries of the journal looked at for one page
_PLACE = re.compile(r"[0-9]{1,15}-[0-9]{1,15}")  # the id of an entry of the journal
SENT, HANDOFF = "message.sent", "handoff"


def sent_lately(
    client: Any, keys: Keys, *, agent: str | None, state: MessageState | None, before: str | None, limit: int
) -> tuple[list[MessageRecord], str | None]:
    """At most `limit` messages, handoffs left out, and the place for the page that follows; None: nothing is left.

    Args:
        agent: only what this agent has sent or is to receive.
        before: the place, as it was returned; None: the newest.
    Raises:
        MessageInvalid: that is no place.
    Cost: a round trip for each 1,000 entries of the journal, and one for each time some are found.
    """
    if before is not None and not _PLACE.fullmatch(before):
        raise MessageInvalid(f"{before[:40]!r} is no place in the list; take `next` of a page", field="after")
    letters, place, looked_at = Letters(client, keys), before, 0
    found: list[MessageRecord] = []
    while len(found) < limit and looked_at < LOOKED_AT:
        entries = client.xrevrange(keys.journal, max=f"({place}" if place else "+", count=_PAGE)
        if not entries:
            return found, None
        looked_at += len(entries)
        about = {fields["m"]: entry_id for entry_id, fields in entries if _wanted(fields, agent)}
        records = [record for record in letters.read_many(list(about)) if state in (None, record.state)]
        found += records[: limit - len(found)]
        cut = len(found) == limit and len(records) > 0
        place = about[found[-1].message.message_id] if cut else entries[-1][0]
    return found, place


def _wanted(fields: dict[str, str], agent: str | None) -> bool:
    if fields["e"] != SENT or fields.get("type") == HANDOFF:
        return False
    return agent is None or agent in (fields.get("from"), fields.get("to"))
