"""`python -m benchmarks`: runs the groups, prints their tables and writes `docs/performance.md`."""

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable

from benchmarks import commands, ingest, latency, length, report, scale, startup, waits

GROUPS: dict[str, Callable[[bool], Awaitable[report.Group]]] = {
    "ingest": ingest.run,
    "latency": latency.run,
    "commands": commands.run,
    "scale": scale.run,
    "waits": waits.run,
    "length": length.run,
    "startup": startup.run,
}
QUICK = ("ingest", "latency", "commands", "startup")


async def run(names: list[str], quick: bool) -> list[report.Group]:
    """Runs these groups one after the other."""
    groups = []
    for name in names:
        started = time.monotonic()
        group = await GROUPS[name](quick)
        groups.append(group)
        print(f"\n## {group.title} ({time.monotonic() - started:.0f} s)\n\n{report.table(group.rows)}", flush=True)
    return groups


def main() -> None:
    """Reads the command line and runs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the ratios that matter, in half a minute; writes nothing")
    parser.add_argument("--only", nargs="+", choices=GROUPS, help="these groups alone; writes nothing")
    options = parser.parse_args()
    started = time.monotonic()
    names = options.only or (QUICK if options.quick else GROUPS)
    print(f"{report.machine()}; {report.versions()}", flush=True)
    groups = asyncio.run(run(list(names), options.quick))
    took = time.monotonic() - started
    print(f"\n## Against the targets\n\n{report.targets(groups)}\n\ntook {took:.0f} s", flush=True)
    if not options.quick and not options.only:
        report.write(report.page(groups, took))


if __name__ == "__main__":
    main()
