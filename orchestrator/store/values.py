"""How outputs lie in the store: JSON text, and over 64 KiB compressed (zlib, base64), marked by a control character.

The mark cannot start a JSON text, so no flag is stored beside the value.
"""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

COMPRESS_OVER_BYTES = 64 * 1024
_MARK = "\x01"


def pack(text: str) -> str:
    """The stored form of a JSON text."""
    if len(text) <= COMPRESS_OVER_BYTES:
        return text
    return _MARK + base64.b64encode(zlib.compress(text.encode(), 1)).decode("ascii")


def unpack(stored: str) -> Any:
    """The value of a stored form."""
    if stored.startswith(_MARK):
        return json.loads(zlib.decompress(base64.b64decode(stored[1:])))
    return json.loads(stored)
