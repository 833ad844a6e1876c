"""Running git: an argument list, no shell, a time limit, and an environment that the checkout cannot bend.

Only commands that read are run. Nothing here knows what the agents look for.
"""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from collections.abc import Mapping

from orchestrator import Fatal

LIMIT_S = 300.0
# Enough for ten years of a busy project, few enough that comparing the trees takes seconds.
COMPARED_COMMITS = 50_000

# A checkout brings its own configuration, and some settings name programs to run or change what commands print.
_OVERRIDES = (
    "core.fsmonitor=false",
    "core.quotePath=false",
    "log.showSignature=false",
)


def git(root: str, *arguments: str, feed: bytes = b"") -> bytes:
    """What `git -C root ARGUMENTS` prints.

    Args:
        feed: bytes for its standard input.
    Raises:
        Fatal: git failed, is missing, or took longer than LIMIT_S; the message is one line.
    """
    done = ask(root, *arguments, feed=feed)
    if done.returncode:
        raise Fatal(f"git {arguments[0]} failed in {one_line(root)}: {complaint(done)}")
    return done.stdout


def ask(root: str, *arguments: str, feed: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run git and leave the judgement of its exit code to the caller. Raises Fatal as `git` does."""
    options = [part for override in _OVERRIDES for part in ("-c", override)]
    command = ["git", "--no-pager", "-C", root, *options, *arguments]
    try:
        return subprocess.run(command, input=feed, capture_output=True, timeout=LIMIT_S, env=_environment(os.environ))
    except FileNotFoundError:
        raise Fatal("git is not installed, or not on the PATH of the worker") from None
    except subprocess.TimeoutExpired:
        raise Fatal(f"git {arguments[0]} took longer than {LIMIT_S:g} s in {one_line(root)}") from None


def complaint(done: subprocess.CompletedProcess[bytes]) -> str:
    """The line of git's standard error that says what is wrong."""
    lines = shown(done.stderr).strip().splitlines() or [f"exit code {done.returncode}"]
    return next((line for line in lines if line.startswith(("fatal:", "error:"))), lines[0])


def changes(root: str, head: str, *, whole_paths: bool) -> Counter[str]:
    """Name -> how many of the commits that `head` reaches changed it.

    Args:
        whole_paths: count files; otherwise only the entries at the top of the checkout.

    Merges are left out, a rename counts for both names, and no more than COMPARED_COMMITS commits are looked at.
    """
    commits = git(root, "rev-list", "--no-merges", f"--max-count={COMPARED_COMMITS}", "--end-of-options", head, "--")
    depth = ["-r"] if whole_paths else []
    # The plumbing command obeys none of the user's log and diff settings, and never opens a file's content.
    names = git(root, "diff-tree", "--stdin", "--root", "--no-commit-id", "--name-only", "--no-renames", "-z", *depth,
                feed=commits)  # fmt: skip
    return Counter(shown(name) for name in names.split(b"\0") if name)


def shown(raw: bytes) -> str:
    """Bytes from git or from a file as text that JSON can hold."""
    return raw.decode("utf-8", "replace")


def one_line(text: str) -> str:
    """A path that stays on one line of a message, whatever it is called."""
    return text if text.isprintable() else repr(text)


def _environment(inherited: Mapping[str, str]) -> dict[str, str]:
    # A command started from a git hook inherits GIT_DIR and its kin, which would name another repository. What the
    # user configured (GIT_CONFIG_*) stays.
    kept = {
        name: value
        for name, value in inherited.items()
        if name != "LANGUAGE" and (not name.startswith("GIT_") or name.startswith(("GIT_CONFIG_", "GIT_CEILING_")))
    }
    return kept | {
        "LC_ALL": "C.UTF-8",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        # A partial clone must not fetch what is missing: the address is the checkout's to choose.
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_ALLOW_PROTOCOL": "",
    }
