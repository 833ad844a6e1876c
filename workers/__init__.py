"""The agents that come with the orchestrator: they read a git checkout and write a report about it.

One module per agent; `facts`, `git`, `tree`, `markdown` and `report` are what the agents share. Nothing here imports
more of the project than the public names of `orchestrator`.
"""

from workers import folders, greeter, history, languages, repository, reviewer, todos, writer

__all__ = ["folders", "greeter", "history", "languages", "repository", "reviewer", "todos", "writer"]
