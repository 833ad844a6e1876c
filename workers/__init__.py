"""The agents that come with the orchestrator: they read a git checkout and write a report about it.

One module per agent; `facts`, `git`, `tree`, `markdown` and `report` are what the agents share. Nothing here imports
more of the project than the public names of `orchestrator`.

`shell`, `http_agent` and `tmux` are kinds of agents, which a YAML file fills in. They share `programs` and `answers`,
and also import what `orchestrator.agents.declared` gives to kinds. The ready-made agent `tmux` types into terminals,
so it is served only where somebody asks for it: `orchestrator worker tmux --agents workers.tmux`.
"""

from workers import folders, greeter, history, languages, repository, reviewer, todos, writer

__all__ = ["folders", "greeter", "history", "languages", "repository", "reviewer", "todos", "writer"]
