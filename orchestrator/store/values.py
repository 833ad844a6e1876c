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


def unpack(stored: str, *, most_bytes: int = 0) -> Any:
    """The value of a stored form.

    Args:
        most_bytes: of its JSON text where somebody else may have packed it; 0: any.
    Raises:
        ValueError: it is none.
    """
    if not stored.startswith(_MARK):
        return json.loads(stored)
    packed = zlib.decompressobj()
    try:
        text = packed.decompress(base64.b64decode(stored[1:]), most_bytes)
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if not packed.eof:
        raise ValueError("it is longer than it may be, or cut off")
    return json.loads(text)
