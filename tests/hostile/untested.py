"""Hostile inputs without a test, each with the reason. docs/security.md lists the same."""

UNTESTED: dict[str, str] = {
    "H-09": "no webhook comes in: a run is started by a command, the API or a schedule",
    "W-12": "nothing is exported as CSV",
}
