"""Who has opened Flower by its link: a token that works once, and the sessions that such tokens have opened."""

from __future__ import annotations

import hmac
import secrets
import time
from collections import deque
from collections.abc import Callable

SESSION_S = 30 * 86400
_REMEMBERED = 100  # tokens of which it can be told that they were used; the rest are only wrong


def new_token() -> str:
    """256 random bits, fit for an address."""
    return secrets.token_urlsafe(32)


class Keyring:
    """The token of now, the sessions, and tokens that were used. It lives in the process that is Flower.

    Args:
        token: the first one.
        clock: seconds since the epoch.
    """

    def __init__(self, token: str, clock: Callable[[], float] = time.time) -> None:
        self.token = token
        self._clock = clock
        self._sessions: dict[str, float] = {}  # secret -> when it ends
        self._used: deque[str] = deque(maxlen=_REMEMBERED)

    def open(self, given: str) -> str | None:
        """Exchange the token for the secret of a new session; another takes its place. None: it is not the one."""
        if not _same(given, self.token):
            return None
        self._used.append(self.token)
        self.token = new_token()
        now = self._clock()
        self._sessions = {name: end for name, end in self._sessions.items() if end > now}
        secret = new_token()
        self._sessions[secret] = now + SESSION_S
        return secret

    def was_used(self, given: str) -> bool:
        """Whether this was a token that has opened a session."""
        return any(_same(given, token) for token in self._used)

    def knows(self, secret: str) -> bool:
        """Whether the session is one of ours and goes on."""
        end = next((end for name, end in self._sessions.items() if _same(secret, name)), 0.0)
        return end > self._clock()


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), wanted.encode())
