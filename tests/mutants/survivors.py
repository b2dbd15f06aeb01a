"""How what became of each change is told: the survivors by file and line, without those that are accepted."""

import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

ACCEPTED = Path(__file__).with_name("accepted.toml")


@dataclass(frozen=True)
class Change:
    """One change of the code, and what became of it.

    `status` is `killed` (a test failed), `survived` (none did), `no tests` (none ran it), `not checked` (there was no
    time) or another way to be noticed, such as `timeout`. `was` and `now` are the source lines of a survivor, on one
    line with single spaces, and empty for all others.
    """

    path: str
    function: str
    status: str
    was: str = ""
    now: str = ""


@dataclass(frozen=True)
class Accepted:
    """Survivors of one line that are no gap. An empty `now` stands for any change of it."""

    path: str
    function: str
    was: str
    why: str
    now: tuple[str, ...] = ()

    def covers(self, change: Change) -> bool:
        """Whether this is the change that was accepted."""
        here = (change.path, change.function, change.was) == (self.path, self.function, self.was)
        return here and (not self.now or change.now in self.now)


def accepted(path: Path = ACCEPTED) -> list[Accepted]:
    """The entries of the file, in its order."""
    entries = tomllib.loads(path.read_text())["accepted"]
    return [Accepted(**{**entry, "now": tuple(entry.get("now", ()))}) for entry in entries]


def told(changes: Sequence[Change], known: Sequence[Accepted]) -> Iterator[str]:
    """The lines of a report: survivors, functions that no test runs, and counts."""
    survived = [change for change in changes if change.status == "survived"]
    listed = [change for change in survived if not any(entry.covers(change) for entry in known)]
    for (path, function), of_function in groupby(listed, key=lambda change: (change.path, change.function)):
        yield f"{path} {function}"
        for was, of_line in groupby(of_function, key=lambda change: change.was):
            yield f"    {was}"
            yield from (f"      survives as  {change.now}" for change in of_line)
    yield from _not_run(change for change in changes if change.status == "no tests")
    counts = Counter(change.status for change in changes)
    noticed = len(changes) - sum(counts[status] for status in ("survived", "no tests", "not checked"))
    yield (
        f"{len(changes)} changes: {noticed} noticed, {len(listed)} survived, {len(survived) - len(listed)} survived and"
        f" are accepted, {counts['no tests']} in functions that no test of this run calls, {counts['not checked']} not"
        " tried for lack of time."
    )


def _not_run(changes: Iterable[Change]) -> Iterator[str]:
    for path, of_file in groupby(changes, key=lambda change: change.path):
        functions = dict.fromkeys(change.function for change in of_file)
        yield f"{path}: no test of this run calls {', '.join(functions)}"
