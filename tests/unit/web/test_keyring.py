"""Tokens that work once, and the sessions they open."""

from __future__ import annotations

from orchestrator.web.keyring import SESSION_S, Keyring, new_token


def test_a_token_opens_one_session_and_another_takes_its_place() -> None:
    keyring = Keyring("first")
    secret = keyring.open("first")
    assert secret is not None
    assert keyring.knows(secret)
    assert keyring.open("first") is None
    assert keyring.was_used("first")
    assert keyring.token not in ("first", secret)
    other = keyring.open(keyring.token)
    assert other not in (None, secret)


def test_nothing_but_the_token_opens_and_nothing_but_a_session_is_known() -> None:
    keyring = Keyring("first")
    assert [keyring.open(given) for given in ("", "firs", "first ", "\udcff")] == [None] * 4
    assert not keyring.was_used("")
    assert not any(keyring.knows(given) for given in ("", "first", "\udcff"))
    assert keyring.token == "first", "a wrong guess changes nothing"


def test_a_session_ends() -> None:
    now = [1000.0]
    keyring = Keyring("first", clock=lambda: now[0])
    secret = keyring.open("first")
    assert secret is not None
    now[0] += SESSION_S - 1
    assert keyring.knows(secret)
    now[0] += 2
    assert not keyring.knows(secret)
    assert keyring.open(keyring.token)
    assert list(keyring._sessions) != [], "the one that is over was dropped, the new one is there"
    assert secret not in keyring._sessions


def test_tokens_are_long_and_differ() -> None:
    assert len({new_token() for _ in range(100)}) == 100
    assert min(len(new_token()) for _ in range(100)) >= 43
