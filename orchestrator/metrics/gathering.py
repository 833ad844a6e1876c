"""What is measured. Every figure that `orchestrator metrics` shows is gathered here, and written in `formats.py`."""

from __future__ import annotations

from orchestrator.client import Client
from orchestrator.store.connection import guard
from orchestrator.store.figures import Figures, read_figures


def gather(client: Client) -> Figures:
    """Ask the server: two round trips, and one more for each 500 entries of the journal that are not counted yet.

    Raises:
        StoreUnavailable.
    """
    with guard(client.url):
        return read_figures(client.store.client, client.store.keys, lease_ms=round(client.settings.lease_s * 1000))
