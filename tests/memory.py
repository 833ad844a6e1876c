"""How much memory a process holds."""

from __future__ import annotations

import os
from pathlib import Path

MIB = 1 << 20


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
