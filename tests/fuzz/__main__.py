"""Fuzzes the decoder, the record and the views with libFuzzer, which keeps what reaches new code (`make fuzz`).

    python -m tests.fuzz [--seconds 60] [--runs -1] [--seed 1]

Status 0 if all held. Else libFuzzer says what did not, and leaves the script that shows it in `found/`, where every
run of the tests tries it.
"""

import argparse
import os
import random
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["evi_mcp"]):
    from tests.fuzz import script
    from tests.fuzz.mutate import MAX_SIZE, mutated

FOUND = Path(__file__).parent / "found"


def check(data: bytes) -> None:
    """One script, all that must hold of it."""
    script.run(data)
    script.replayed_as_it_was(data)


def mutate(data: bytes, most: int, seed: int) -> bytes:
    """What libFuzzer asks for in place of changes of its own, which would hardly ever be JSON."""
    return mutated(data, random.Random(seed), most)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--runs", type=int, default=-1, help="scripts at most; -1 is as many as there is time for")
    parser.add_argument("--seed", type=int, default=0, help="of the run; 0 takes a new one, which libFuzzer shows")
    options = parser.parse_args()
    arguments = {
        "max_total_time": options.seconds,
        "runs": options.runs,
        "seed": options.seed,
        "max_len": MAX_SIZE,
        "timeout": 20,
        "artifact_prefix": f"{FOUND}{os.sep}",
        "seed_inputs": ",".join(map(str, FOUND.iterdir())),
    }
    argv = [sys.argv[0], *(f"-{name}={value}" for name, value in arguments.items())]
    atheris.Setup(argv, check, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
