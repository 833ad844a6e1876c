"""A run in this process: the store's own scripts on a small server in memory, with a clock that is only moved on."""
