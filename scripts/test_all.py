"""Runs the tests on every Python that is installed, for `make test-all`; `--smoke` runs some of them on one more Python
than that of `.venv`, for `make smoke`.

Each Python has an environment of its own, `.venvs/<version>`. One of them, the oldest, has the lowest versions that
pyproject.toml allows (constraints-lowest.txt), the others have those of constraints.txt.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
VERSIONS = ("3.11", "3.12", "3.13", "3.14")
SMOKE = ("tests/protocol", "tests/chat", "tests/supervision", "tests/process/test_stdio.py")
LIMIT_S = 1800
"""What hangs is a failure too: from one Python to the next, asyncio waits for other things."""
OWN = f"{sys.version_info.major}.{sys.version_info.minor}"
WORKERS = str(2 * (os.cpu_count() or 1))
PARTS = (("-m", "not alone and not foreign", "--numprocesses", WORKERS, "--dist", "worksteal"), ("-m", "alone"))
"""Options for pytest, as in `make tests`: beside each other, then what measures."""


def interpreter(version: str) -> Path | None:
    """The Python of this version, on the path or in pyenv; `None` if there is none that runs."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    on_path = shutil.which(f"python{version}")
    found = [Path(on_path)] if on_path else []
    found += sorted(pyenv.glob(f"{version}.*/bin/python{version}"), key=_release, reverse=True)
    return next((path for path in found if _runs(path, version)), None)


def _release(path: Path) -> list[int]:
    """The numbers in the name of pyenv's folder, to be compared: 3.13.10 is newer than 3.13.9."""
    return [int(part) for part in path.parent.parent.name.split(".") if part.isdigit()]


def _runs(path: Path, version: str) -> bool:
    """Whether it is this version; pyenv has an empty shell under the name of each that is not switched on."""
    asked = [str(path), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    return done.returncode == 0 and done.stdout.strip() == version


def run(command: Sequence[str | Path], **environment: str) -> int:
    """Says what it runs, runs it, and returns its status; 1 if it does not end."""
    print("+", *command, flush=True)
    try:
        return subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, timeout=LIMIT_S).returncode
    except subprocess.TimeoutExpired:
        print(f"This did not end within {LIMIT_S} s.", flush=True)
        return 1


def tested(version: str, python: Path, *, lowest: bool, smoke: bool) -> str:
    """Makes the environment, runs the tests in it, and returns what came of it: `passed` or what did not."""
    place = ROOT / ".venvs" / version
    constraints = "constraints-lowest.txt" if lowest else "constraints.txt"
    if run(["sh", "scripts/install.sh", place, constraints], PYTHON=str(python)):
        return "could not be installed"
    pytest: list[str | Path] = [place / "bin" / "python", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    parts = (PARTS[0],) if smoke else PARTS
    failed = [part for part in parts if run([*pytest, *part, *(SMOKE if smoke else ())])]
    return "FAILED" if failed else "passed"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("versions", nargs="*", default=VERSIONS, help="such as 3.13; all that are installed")
    parser.add_argument("--smoke", action="store_true", help="some tests, on the oldest but the one running this")
    args = parser.parse_args()

    pythons = {version: path for version in args.versions if (path := interpreter(version))}
    if args.smoke:
        pythons = dict([(version, path) for version, path in pythons.items() if version != OWN][:1])
    if not pythons:
        print("There is no other Python than this one." if args.smoke else "None of these Pythons is installed.")
        return 0 if args.smoke else 1

    told = []
    for place, (version, python) in enumerate(pythons.items()):
        begun = time.monotonic()
        outcome = tested(version, python, lowest=place == 0, smoke=args.smoke)
        versions = "the lowest versions" if place == 0 else "the versions of constraints.txt"
        told.append(f"Python {version} with {versions}: {outcome} in {time.monotonic() - begun:.0f} s")
    print(*told, sep="\n")
    return 0 if all(": passed" in line for line in told) else 1


if __name__ == "__main__":
    sys.exit(main())
