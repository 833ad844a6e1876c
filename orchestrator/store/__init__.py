"""The only code that touches the state in Redis: one Lua script per transition, one typed method per script."""
