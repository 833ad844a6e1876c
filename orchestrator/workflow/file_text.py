"""The text of a file that somebody names: regular, of bounded size, UTF-8."""

from __future__ import annotations

import os
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from orchestrator.errors import Problem, WorkflowInvalid


def read_text(path: Path, most: int, *, links: bool = True) -> str:
    """The text of a file of at most `most` bytes; without `links` not of a link. Raises WorkflowInvalid."""
    try:
        data = _read(path, most, os.O_RDONLY if links else os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        raise invalid(str(path), 0, "no such file") from None
    except OSError as error:
        raise invalid(str(path), 0, f"cannot be read: {error.strerror}") from None
    except ValueError:
        raise invalid(str(path), 0, "a path has no NUL in it") from None
    if len(data) > most:
        raise invalid(str(path), 0, f"is larger than {most:,} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise invalid(str(path), line, "is not UTF-8 text") from None


def _read(path: Path, most: int, flags: int) -> bytes:
    """At most a byte more than `most`. What is looked at is what is read, whatever becomes of its name meanwhile."""
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)  # opening a pipe would wait for a writer
    try:
        mode = os.fstat(descriptor).st_mode
        if not S_ISREG(mode):  # reading a pipe or a device might never end
            raise invalid(str(path), 0, "is a folder" if S_ISDIR(mode) else "is no regular file")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(most + 1)
    finally:
        os.close(descriptor)


def invalid(file: str, line: int, message: str) -> WorkflowInvalid:
    """The error of a file that is wrong as a whole; line 0 is none of its lines."""
    return WorkflowInvalid([Problem(file, line, "", message)])
