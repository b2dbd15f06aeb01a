"""Figures to a Markdown table, and the table to its page."""

import os
import platform
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median, quantiles

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
BEGIN, END = "<!-- measured: made by `make bench` -->", "<!-- end of what is measured -->"
PACKAGES = ("evi-mcp", "mcp", "websockets", "anyio", "pydantic", "hume")


@dataclass(frozen=True)
class Row:
    """A line of a table. `target` is `None` where none is set; `met` likewise, or where it could not be measured."""

    what: str
    measured: str
    beside: str = ""
    ratio: str = ""
    target: str | None = None
    met: bool | None = None


@dataclass(frozen=True)
class Group:
    """One group of measurements; `note` says what the sides of its ratios are."""

    title: str
    note: str
    rows: Sequence[Row]


def at_least(what: str, ours: str, theirs: str, ratio: float, target: float) -> Row:
    """A row whose ratio is to be at least the target."""
    return Row(what, ours, theirs, f"{ratio:.2f}", f"at least {target:g}", ratio >= target)


def at_most(what: str, ours: str, theirs: str, ratio: float, target: float) -> Row:
    """A row whose ratio is to be at most the target."""
    return Row(what, ours, theirs, f"{ratio:.2f}", f"at most {target:g}", ratio <= target)


def absent(what: str, target: str | None = None) -> Row:
    """A row for which Hume's SDK is missing."""
    return Row(what, "not measured", "`hume` is not installed (extra `bench`)", "", target)


def ratio_of(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the ratios of rounds that were run side by side: what slows a round slows both of its sides."""
    return median(one / other for one, other in zip(ours, theirs, strict=True))


def p99(values: Sequence[float]) -> float:
    """The 99th percentile."""
    return quantiles(values, n=100, method="inclusive")[98]


def ms(seconds: float) -> str:
    """Seconds, shown in milliseconds."""
    return f"{seconds * 1e3:.2f} ms"


def us(seconds: float) -> str:
    """Seconds, shown in microseconds."""
    return f"{seconds * 1e6:.0f} µs"


def table(rows: Iterable[Row]) -> str:
    """The rows in Markdown. Bold is what misses its target."""
    lines = ["| What | Here | Beside it | Ratio | Target | Met |", "| --- | --- | --- | --- | --- | --- |"]
    for row in rows:
        met = {None: "", True: "yes", False: "**no**"}[row.met]
        lines.append(f"| {row.what} | {row.measured} | {row.beside} | {row.ratio} | {row.target or ''} | {met} |")
    return "\n".join(lines)


def targets(groups: Iterable[Group]) -> str:
    """The rows that have a target, of all groups together."""
    return table(row for group in groups for row in group.rows if row.target is not None)


def page(groups: Sequence[Group], took_s: float) -> str:
    """All that was measured, with what it was measured on."""
    parts = [f"Measured on {datetime.now(UTC):%d %B %Y}, in {took_s / 60:.0f} minutes: {machine()}; {versions()}.",
             "## Against the targets", targets(groups)]  # fmt: skip
    for group in groups:
        parts += [f"## {group.title}", group.note, table(group.rows)]
    return "\n\n".join(parts)


def machine() -> str:
    """The machine in a few words; nothing that tells which one it was."""
    cpu = "unknown processor"
    if found := re.search(r"^model name\s*:\s*(.+)$", _read("/proc/cpuinfo"), re.MULTILINE):
        cpu = found[1].strip()
    memory = re.search(r"MemTotal:\s*(\d+)", _read("/proc/meminfo"))
    size = f"{int(memory[1]) / 2**20:.0f} GiB of memory" if memory else "unknown memory"
    return f"{os.cpu_count()} cores of {cpu}, {size}, {platform.system()}"


def versions() -> str:
    """Python and the packages that matter, as far as they are installed."""
    found = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def write(text: str) -> None:
    """Puts the text between the marks of the page; what stands around it was written by hand."""
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", "utf-8")


def _read(path: str) -> str:
    try:
        return Path(path).read_text("utf-8")
    except OSError:
        return ""
