"""Known vulnerabilities of Redis and Valkey by version, as published until `KNOWN_ON`.

A server tells only its version: whether its distribution has mended it under the same number cannot be seen.
Source: the release notes and security advisories of redis/redis and valkey-io/valkey, and the CVE records.
"""

from __future__ import annotations

from dataclasses import dataclass

KNOWN_ON = "2026-08-31"
Version = tuple[int, ...]


@dataclass(frozen=True)
class Advisory:
    """One advisory, or several that one release mends.

    Args:
        ids: CVE numbers.
        since: the first line (major, minor) that has it.
        mended: the first release of each line without it. A line that is missing has none, unless it is newer than all.
    """

    ids: tuple[str, ...]
    since: Version
    mended: tuple[Version, ...]

    def holds(self, version: Version) -> bool:
        """Whether a version has it."""
        line = version[:2]
        for release in self.mended:
            if release[:2] == line:
                return version < release
        return self.since <= line < max(self.mended)[:2]


_FIRST = (0, 0)
_ADVISORIES = {
    "redis": (
        Advisory(("CVE-2024-31449",), _FIRST, ((6, 2, 16), (7, 2, 6), (7, 4, 1))),
        Advisory(("CVE-2024-46981",), _FIRST, ((6, 2, 17), (7, 2, 7), (7, 4, 2))),
        Advisory(("CVE-2025-21605",), _FIRST, ((6, 2, 18), (7, 2, 8), (7, 4, 3))),
        Advisory(("CVE-2025-32023", "CVE-2025-48367"), _FIRST, ((6, 2, 19), (7, 2, 10), (7, 4, 5), (8, 0, 3))),
        Advisory(
            ("CVE-2025-49844", "CVE-2025-46817", "CVE-2025-46818", "CVE-2025-46819"), _FIRST,
            ((6, 2, 20), (7, 2, 11), (7, 4, 6), (8, 0, 4), (8, 2, 2)),
        ),
        Advisory(("CVE-2025-62507",), (8, 2), ((8, 2, 3),)),
        Advisory(("CVE-2026-23479",), (7, 2), ((7, 2, 14), (7, 4, 9), (8, 2, 6), (8, 4, 3), (8, 6, 3))),
        Advisory(
            ("CVE-2026-25243", "CVE-2026-23631"), _FIRST,
            ((6, 2, 22), (7, 2, 14), (7, 4, 9), (8, 2, 6), (8, 4, 3), (8, 6, 3)),
        ),
        Advisory(
            ("CVE-2026-81934",), _FIRST,
            ((6, 2, 24), (7, 2, 16), (7, 4, 11), (8, 2, 9), (8, 4, 6), (8, 6, 6), (8, 8, 2), (8, 10, 1)),
        ),
    ),
    "valkey": (
        Advisory(("CVE-2024-31449",), _FIRST, ((7, 2, 7), (8, 0, 1))),
        Advisory(("CVE-2024-46981",), _FIRST, ((7, 2, 8), (8, 0, 2))),
        Advisory(("CVE-2025-21605",), _FIRST, ((7, 2, 9), (8, 0, 3), (8, 1, 1))),
        Advisory(("CVE-2025-32023", "CVE-2025-48367"), _FIRST, ((7, 2, 10), (8, 0, 4), (8, 1, 3))),
        Advisory(
            ("CVE-2025-49844", "CVE-2025-46817", "CVE-2025-46818", "CVE-2025-46819"), _FIRST,
            ((7, 2, 11), (8, 0, 6), (8, 1, 4)),
        ),
        Advisory(("CVE-2025-67733", "CVE-2026-21863"), _FIRST, ((7, 2, 12), (8, 0, 7), (8, 1, 6), (9, 0, 3))),
        Advisory(("CVE-2026-27623",), (9, 0), ((9, 0, 3),)),
        Advisory(
            ("CVE-2026-23479", "CVE-2026-25243", "CVE-2026-23631"), _FIRST,
            ((7, 2, 13), (8, 0, 8), (8, 1, 7), (9, 0, 4)),
        ),
        Advisory(
            ("CVE-2026-56684", "CVE-2026-63639"), _FIRST, ((7, 2, 14), (8, 0, 10), (8, 1, 9), (9, 0, 5), (9, 1, 1))
        ),
    ),
}  # fmt: skip


def known_advisories(kind: str, version: str) -> list[str]:
    """The CVE numbers that a version has.

    Args:
        kind: `redis` or `valkey`. version: as the server tells it, `7.0.15`.
    """
    parts = tuple(int(part) for part in version.split(".")[:3] if part.isdigit())
    return [name for advisory in _ADVISORIES[kind] if advisory.holds(parts) for name in advisory.ids]


def mended_release(kind: str, version: str) -> str:
    """The first release of the version's line without any of them, or of the newest line if it has none."""
    line = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    newest = _ADVISORIES[kind][-1].mended
    return ".".join(map(str, next((release for release in newest if release[:2] == line), newest[-1])))
