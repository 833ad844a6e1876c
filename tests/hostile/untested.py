"""Hostile inputs without a test, each with the reason. docs/security.md lists the same."""

UNTESTED: dict[str, str] = {
    "H-09": "no webhook comes in: a run is started by a command, the API or a schedule",
    "W-12": "nothing is exported as CSV",
    "T-02": "there is no MCP server: no tool of ours is offered to a model",
    "T-05": "there are no agent cards and no descriptions of tools that an agent would approve",
    "R-03": "accounts are for roles: a message is put into the recipient's inbox by its sender's account, so that no"
    " key pattern tells agents apart; teams that do not trust each other take a server each"
    " (docs/operations.md, Accounts)",
}
