"""The agent `history`: commits, authors, months, and the files that change most."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workers.history import hot_spots, summary

if TYPE_CHECKING:
    from conftest import Repo


def test_commits_are_counted_by_author_and_month(repo: Repo) -> None:
    repo.commit(author="Zoë Ünal <z@example.org>", date="2026-01-31T23:30:00-05:00")
    repo.commit(author="Ada <a@example.org>", date="2026-02-01T10:00:00+00:00")
    repo.commit(author="Ada <other@example.org>", date="2026-02-03T10:00:00+00:00")
    found = summary(repo.path, repo.head)
    assert found.commits == 3
    assert found.authors == ["Ada", "Zoë Ünal"]
    assert [(author.name, author.commits) for author in found.top_authors] == [("Ada", 2), ("Zoë Ünal", 1)]
    assert found.months == {"2026-01": 1, "2026-02": 2}
    assert (found.first, found.last) == ("2026-01-31T23:30:00-05:00", "2026-02-03T10:00:00+00:00")


def test_one_commit_is_enough(repo: Repo) -> None:
    repo.commit()
    found = summary(repo.path, repo.head)
    assert (found.commits, found.authors, found.first) == (1, ["Ada"], found.last)


def test_no_commit_gives_zeros(repo: Repo) -> None:
    found = summary(repo.path, None)
    assert (found.commits, found.authors, found.months, found.first, found.last) == (0, [], {}, None, None)
    assert hot_spots(repo.path, None) == []


def test_a_mailmap_joins_the_names_of_one_person(repo: Repo) -> None:
    repo.write(".mailmap", "Ada Lovelace <ada@example.org> <al@example.org>\n")
    repo.commit(author="Ada Lovelace <ada@example.org>")
    repo.commit(author="al <al@example.org>")
    assert summary(repo.path, repo.head).authors == ["Ada Lovelace"]


def test_names_that_are_no_utf8_or_empty_do_no_harm(repo: Repo) -> None:
    repo.grow(1, authors=[b"J\xf6rg\ttab"])
    assert summary(repo.path, repo.head).authors == ["J\ufffdrg\ttab"]
    repo.git("checkout", "--quiet", "--orphan", "nameless")
    repo.commit()
    raw = repo.git("cat-file", "commit", "HEAD").replace(b"author Ada ", b"author  ")
    nameless = repo.git("hash-object", "-t", "commit", "-w", "--literally", "--stdin", feed=raw).decode().strip()
    assert summary(repo.path, nameless).commits == 1


def test_a_date_that_is_none_belongs_to_no_month(repo: Repo) -> None:
    repo.commit()
    raw = repo.git("cat-file", "commit", "HEAD")
    broken = raw.replace(b"author Ada <ada@example.org> 17", b"author Ada <ada@example.org> 99999999999999999999999")
    assert broken != raw
    head = repo.git("hash-object", "-t", "commit", "-w", "--literally", "--stdin", feed=broken).decode().strip()
    assert summary(repo.path, head).commits == 1


def test_many_commits_are_all_counted(repo: Repo) -> None:
    repo.grow(300)
    assert summary(repo.path, repo.head).commits == 300
    assert [(spot.name, spot.commits) for spot in hot_spots(repo.path, repo.head, first=1)] == [("dir0/file0.py", 30)]


def test_hot_spots_are_tracked_files_most_changed_first(repo: Repo) -> None:
    for number in range(3):
        repo.write("often.py", f"{number}\n")
        repo.write("gone.py", f"{number}\n")
        repo.write(f"once {number}\n| `x` ü", "1\n")
        repo.commit()
    (repo.root / "gone.py").unlink()
    repo.commit()
    spots = hot_spots(repo.path, repo.head)
    assert (spots[0].name, spots[0].commits) == ("often.py", 3)
    assert [spot.name for spot in spots[1:]] == [f"once {number}\n| `x` ü" for number in range(3)]


def test_merges_do_not_count_a_change_twice(repo: Repo) -> None:
    repo.write("base", "1\n")
    repo.commit()
    repo.git("checkout", "--quiet", "-b", "side")
    repo.write("side.py", "1\n")
    repo.commit()
    repo.git("checkout", "--quiet", "main")
    repo.write("main.py", "1\n")
    repo.commit()
    repo.git("merge", "--quiet", "--no-edit", "side")
    assert {spot.name: spot.commits for spot in hot_spots(repo.path, repo.head)} == {
        "base": 1,
        "side.py": 1,
        "main.py": 1,
    }
    assert summary(repo.path, repo.head).commits == 4
