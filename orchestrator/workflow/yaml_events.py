"""The events of a YAML 1.2 text: ruamel.yaml's own scanner and parser, with their slow plumbing replaced.

The grammar is untouched. What is overridden are look-ups that the originals repeat for every character and token; a
file of 10,000 steps takes a third of the time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import StringMark
from ruamel.yaml.events import Event
from ruamel.yaml.parser import Parser
from ruamel.yaml.reader import Reader
from ruamel.yaml.scanner import Scanner, ScannerError
from ruamel.yaml.tokens import ScalarToken

MAX_DEPTH = 200  # of lists and mappings inside one another
_LONG_TAG = re.compile(r"!\S{256}")
_SPECIAL = re.compile("[\n\r\ufeff]")
_BLANK = {
    True: re.compile(r"[ \t]*(?:#[^\n\r\x85\u2028\u2029\0]*)?"),
    False: re.compile(r" *(?:#[^\n\r\x85\u2028\u2029\0]*)?"),
}
# The commonest plain scalars, with what follows them on the same line, so that they are sure to end there.
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(?=:[ \n])")
_IN_FLOW = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]*(?=[,\]}])")
_LAST_OF_LINE = re.compile(r"([A-Za-z0-9_][A-Za-z0-9_./-]*)\n( *)(?=[^ \n\r\t#\x85\u2028\u2029\ufeff])")


def events(text: str) -> Iterator[Event]:
    """The events of the text.

    Raises:
        ruamel.yaml.error.YAMLError: the text is no YAML; carries a mark.
    """
    yaml: Any = YAML(typ="safe", pure=True)
    yaml.Reader, yaml.Scanner, yaml.Parser = _Reader, _Scanner, _Parser
    found: Iterator[Event] = yaml.parse(text)
    return found


class _Reader(Reader):
    """All of the text is in the buffer from the start, so nothing is ever read on."""

    def peek(self, index: int = 0) -> str:
        try:
            return self.buffer[self.pointer + index]
        except IndexError:
            return "\0"

    def prefix(self, length: int = 1) -> str:
        return self.buffer[self.pointer : self.pointer + length]

    def forward(self, length: int = 1) -> None:
        pointer = self.pointer
        if _SPECIAL.search(self.buffer, pointer, pointer + length):
            super().forward(length)
            return
        self.pointer = pointer + length
        self.index += length
        self.column += length

    def get_mark(self) -> StringMark:
        return StringMark(self.name, self.index, self.line, self.column, self.buffer, self.pointer)


class _Scanner(Scanner):
    reader: Any = None
    scanner_processing_version = (1, 2)

    def __init__(self, loader: Any = None) -> None:
        self.reader = loader.reader
        self._settled = -1
        super().__init__(loader)

    @property
    def flow_level(self) -> int:
        return len(self.flow_context)

    def check_token(self, *choices: Any) -> bool:
        # The parser asks four times for each token. Whether a token turns out to be a key is settled once.
        if self._settled != self.tokens_taken or not self.tokens:
            self._settle()
        return bool(self.tokens) and (not choices or isinstance(self.tokens[0], choices))

    def peek_token(self) -> Any:
        if self._settled != self.tokens_taken or not self.tokens:
            self._settle()
        return self.tokens[0] if self.tokens else None

    def _settle(self) -> None:
        while self.need_more_tokens():
            self.fetch_more_tokens()
        self._settled = self.tokens_taken

    def get_token(self) -> Any:
        token = self.peek_token()
        if token is not None:
            self.tokens_taken += 1
            del self.tokens[0]
        return token

    def need_more_tokens(self) -> bool:
        if self.done:
            return False
        if not self.tokens:
            return True
        if not self.possible_simple_keys:
            return False
        self.stale_possible_simple_keys()
        return bool(self.next_possible_simple_key() == self.tokens_taken)

    def fetch_flow_collection_start(self, token: Any, to_push: str) -> None:
        # Each open bracket may start a key, and all of them are looked at for each token: too many must not come up.
        if self.flow_level >= MAX_DEPTH:
            raise ScannerError(None, None, f"brackets are nested deeper than {MAX_DEPTH}", self.reader.get_mark())
        super().fetch_flow_collection_start(token, to_push)

    def scan_tag(self) -> Any:
        # The library's time grows with the square of the length: 14 s for a megabyte.
        if _LONG_TAG.match(self.reader.buffer, self.reader.pointer):
            raise ScannerError(None, None, "a tag is longer than 256 characters", self.reader.get_mark())
        return super().scan_tag()

    def stale_possible_simple_keys(self) -> None:
        if self.possible_simple_keys:
            super().stale_possible_simple_keys()

    def scan_to_next_token(self) -> None:
        reader = self.reader
        if reader.index == 0 and reader.peek() == "\ufeff":
            reader.forward()
        while True:
            blank = _BLANK[bool(self.flow_context)].match(reader.buffer, reader.pointer)
            if blank and (length := blank.end() - reader.pointer):
                reader.forward(length)
            if not self.scan_line_break():
                return
            if not self.flow_context:
                self.allow_simple_key = True

    def scan_plain(self) -> Any:
        reader, start = self.reader, self.reader.get_mark()
        found = _KEY.match(reader.buffer, reader.pointer)
        if found is None and self.flow_context:
            found = _IN_FLOW.match(reader.buffer, reader.pointer)
        if found is not None:
            self.allow_simple_key = False
            reader.forward(found.end() - reader.pointer)
            return ScalarToken(found.group(), True, start, reader.get_mark())
        last = None if self.flow_context else _LAST_OF_LINE.match(reader.buffer, reader.pointer)
        if last is None or len(last.group(2)) > self.indent:
            return super().scan_plain()
        self.allow_simple_key = True
        reader.forward(len(last.group(1)))
        end = reader.get_mark()
        reader.forward(last.end() - reader.pointer)
        return ScalarToken(last.group(1), True, start, end)


class _Parser(Parser):
    scanner: Any = None
    resolver: Any = None

    def __init__(self, loader: Any) -> None:
        self.scanner = loader.scanner
        self.resolver = loader.resolver
        super().__init__(loader)
