"""`python -m tests.mutants [--minutes 10] [FILE or FOLDER ...]`; without files, all packages of `TESTS`."""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.mutants.survivors import Change, accepted, told

ROOT = Path(__file__).parent.parent.parent
INSIDE = Path(__file__).with_name("inside.py")
TESTS = {
    "protocol": ("tests/protocol", "tests/chat"),
    "chat": ("tests/chat", "tests/supervision"),
    "ledger": ("tests/ledger", "tests/chat", "tests/supervision"),
    "supervision": ("tests/supervision",),
    "audit": ("tests/audit",),
}
"""Package to the tests that are to notice a change of it: those that are quick. Of these each change meets only the
tests that call its function."""

STOPPING_S = 30.0
"""How long the tool has to end once its time is over."""


def chosen(names: Sequence[str]) -> dict[str, list[str]]:
    """Package to its files that are to be changed, of files and folders or of everything.

    Raises:
        SystemExit: A name is no file or folder of these packages.
    """
    files: dict[str, list[str]] = {}
    for name in names or [f"evi_mcp/{package}" for package in TESTS]:
        path = (ROOT / name).resolve()
        found = sorted(path.rglob("*.py")) if path.is_dir() else [path]
        for file in found:
            place = file.relative_to(ROOT) if file.is_relative_to(ROOT) else file
            if not file.is_file() or place.parts[0] != "evi_mcp" or place.parts[1] not in TESTS:
                sys.exit(f"{name}: there is no such file in evi_mcp/ under {', '.join(TESTS)}.")
            if file.name != "__init__.py":
                files.setdefault(place.parts[1], []).append(str(place))
    return files


def copied(place: Path, package: str, files: Sequence[str]) -> None:
    """Lays out what the tests need, with the settings of `mutmut`."""
    for name in ("evi_mcp", "tests"):
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
    shutil.copy(ROOT / "pyproject.toml", place)
    settings = {
        "source_paths": ["evi_mcp"],
        "only_mutate": files,
        "do_not_mutate_patterns": [r"_log\."],
        "pytest_add_cli_args_test_selection": TESTS[package],
        "pytest_add_cli_args": ["-p", "no:cacheprovider", "--hypothesis-profile=mutants", "-m", "not alone"],
        "timeout_multiplier": ["5.0"],
        "timeout_constant": ["3.0"],
    }
    lines = (f"{key} =\n    " + "\n    ".join(values) for key, values in settings.items())
    (place / "setup.cfg").write_text("[mutmut]\n" + "\n".join(lines) + "\n")
    subprocess.run([sys.executable, INSIDE, "prepare", *files], cwd=place, check=True)


def mutated(place: Path, seconds: float) -> list[Change]:
    """What became of the changes that there was time for.

    Raises:
        SystemExit: The tests fail without any change, or the tool does.
    """
    log = place / "mutmut.log"
    with log.open("w") as output:
        command = [sys.executable, str(INSIDE), "mutmut", "run", "--max-children", str(os.cpu_count() or 2)]
        running = subprocess.Popen(command, cwd=place, stdout=output, stderr=output, start_new_session=True)
        try:
            status = running.wait(seconds)
        except subprocess.TimeoutExpired:
            status = 0
            running.send_signal(signal.SIGINT)
            try:
                running.wait(STOPPING_S)
            except subprocess.TimeoutExpired:
                pass
        finally:
            _end(running)
    if status:
        sys.exit(f"{log.read_text()[-10_000:]}\nmutmut ended with {status}.")
    done = subprocess.run([sys.executable, INSIDE, "report"], cwd=place, check=True, capture_output=True)
    return [Change(**change) for change in json.loads(done.stdout)]


def _end(running: "subprocess.Popen[bytes]") -> None:
    """Ends the tool with the tests that it started, whatever they do."""
    try:
        os.killpg(running.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    running.wait()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", help=f"in evi_mcp/ under {', '.join(TESTS)}")
    parser.add_argument("--minutes", type=float, default=10, help="how long, for all files together")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that nothing is left running, and no copy

    files = chosen(args.files)
    ends = time.monotonic() + args.minutes * 60
    for place, package in enumerate(files):
        seconds = max(0.0, ends - time.monotonic()) / (len(files) - place)
        print(f"== evi_mcp/{package}: {len(files[package])} files, {seconds / 60:.1f} min, {' '.join(TESTS[package])}")
        with tempfile.TemporaryDirectory(prefix="evi-mcp-mutants-") as copy:
            copied(Path(copy), package, files[package])
            changes = mutated(Path(copy), seconds)
        print(*told(changes, accepted()), sep="\n", flush=True)
        if changes and not any(change.status == "killed" for change in changes):
            print("No change was noticed: there was no time, or the tests did not run.")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
