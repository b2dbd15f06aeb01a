"""`python -m tests.chaos --seed N --chats 50 --seconds S`: status 1 if anything was lost, doubled or written twice."""

import argparse
import asyncio
import logging
import secrets
import sys

from tests.chaos.faults import Kind
from tests.chaos.report import details, table, totals
from tests.chaos.run import run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument(
        "--seed", type=int, default=None, help="of the faults, the talk and the agents; any if not given"
    )
    parser.add_argument("--chats", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=30.0, help="for which things break")
    parser.add_argument("--only", nargs="*", choices=list(Kind), default=list(Kind), help="of the kinds of faults")
    given = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)  # hundreds of connections break here, and each would be told of
    seed = given.seed if given.seed is not None else secrets.randbelow(10**6)
    again = f"python -m tests.chaos --seed {seed} --chats {given.chats} --seconds {given.seconds:g}"
    print(f"to repeat: {again}", flush=True)
    outcome = asyncio.run(run(seed, given.chats, given.seconds, frozenset(map(Kind, given.only))))
    print(table(outcome))
    print(details(outcome))
    print(totals(outcome))
    return 1 if outcome.problems else 0


if __name__ == "__main__":
    sys.exit(main())
