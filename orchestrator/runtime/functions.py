"""The transport's scripts as one library of functions, which the server keeps: `EVAL` may be forbidden there.

The names end in a digest of the text, so that processes of two versions can use one server.
"""

from __future__ import annotations

from hashlib import sha1
from importlib.resources import files

from kombu.transport import redis as stock

from orchestrator.store.direct import Library


def _library() -> Library:
    """Push, pop and kombu's own two scripts as functions, so that a server may forbid EVAL."""
    folder = files("orchestrator.runtime") / "lua"
    bodies = {name: (folder / f"{name}.lua").read_text("utf-8") for name in ("push", "pop")}
    bodies |= {"refresh_binding": stock.REFRESH_BINDING, "sweep_bindings": stock.SWEEP_BINDINGS}
    version = sha1("".join(bodies.values()).encode()).hexdigest()[:8]
    # What is on a queue was accepted: it moves even when the server has no memory left for new work.
    functions = [
        f"redis.register_function{{function_name='{name}_{version}', flags={{'allow-oom'}},"
        f" callback=function(KEYS, ARGV)\n{body}\nend}}\n"
        for name, body in bodies.items()
    ]
    return Library(version, f"#!lua name=orchestrator_broker_{version}\n" + "".join(functions))


LIBRARY = _library()
PUSH, POP, REFRESH, SWEEP = (
    f"{name}_{LIBRARY.version}" for name in ("push", "pop", "refresh_binding", "sweep_bindings")
)
