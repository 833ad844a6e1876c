"""Hostile inputs without a test, each with the reason. docs/security.md lists the same."""

UNTESTED: dict[str, str] = {
    "R-03": "accounts are for roles: a message is put into the recipient's inbox by its sender's account, so that no"
    " key pattern tells agents apart; teams that do not trust each other take a server each"
    " (docs/operations.md, Accounts)",
}
