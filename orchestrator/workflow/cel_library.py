"""The package `cel`, without the command line that it brings along.

`import cel` imports its command line, and with it a toolkit for terminals: 150 modules, a fifth of the start of every
worker and of every command.
"""

from __future__ import annotations

import sys
from types import ModuleType

if "cel" in sys.modules:
    import cel
else:
    sys.modules["cel.cli"] = ModuleType("cel.cli")
    import cel

    del sys.modules["cel.cli"], cel.cli  # whoever wants it still gets it

from cel.stdlib import STDLIB_FUNCTIONS

__all__ = ["STDLIB_FUNCTIONS", "cel"]
