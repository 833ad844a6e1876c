"""Hostile inputs without a test, each with the reason. docs/security.md lists the same."""

UNTESTED: dict[str, str] = {}
