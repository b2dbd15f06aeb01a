"""Clients and frameworks that nobody here wrote, in environments of their own that are made once.

A group of Python packages that can be installed together is a file `tests/clients/NAME.txt`; `client_python(NAME)` is
the Python that has them. To add a package, add its line; where it conflicts with the others, add a file. Packages of
npm come from `tests.npm.npm_folder`.
"""

import fcntl
import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
LISTS = Path(__file__).parent
FOLDER = ROOT / ".venv-clients"
INSTALL_TIMEOUT_S = 150
"""For one group; less than the time of a test. A test run waits no longer for it, and goes on without."""


def client_python(name: str) -> Path:
    """The Python of this group of clients; skips the test, with the reason, where they cannot be installed.

    A group that could not be installed is not tried again by the other workers of the same test run.
    """
    FOLDER.mkdir(exist_ok=True)
    with (FOLDER / f"{name}.lock").open("w") as lock:  # for workers that run beside each other
        fcntl.flock(lock, fcntl.LOCK_EX)
        python = FOLDER / name / "bin" / "python"
        installed, refused = FOLDER / f"{name}.installed", FOLDER / f"{name}.refused"
        wanted = _digest(name)
        if python.exists() and installed.exists() and installed.read_text() == wanted:
            return python
        run = f"{wanted} {os.environ.get('PYTEST_XDIST_TESTRUNUID', os.getpid())}\n"
        if refused.exists() and (told := refused.read_text()).startswith(run):
            pytest.skip(told.removeprefix(run))
        if (why := _install(name)) is not None:
            refused.write_text(f"{run}{why}")
            pytest.skip(why)
        installed.write_text(wanted)
        return python


def _install(name: str) -> str | None:
    """Installs a group; why it could not, or `None`."""
    packages = ", ".join((LISTS / f"{name}.txt").read_text().split())
    command = ["sh", str(ROOT / "scripts" / "install_clients.sh"), str(FOLDER), name]
    environment = os.environ | {"PYTHON": sys.executable}
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment,
        start_new_session=True,
        text=True,
    )
    try:
        _, said = process.communicate(timeout=INSTALL_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # with the pip that it started
        process.communicate()
        return f"{packages} could not be installed in {INSTALL_TIMEOUT_S} s: make clients"
    if process.returncode:
        last = (said.strip().splitlines() or ["no reason given"])[-1]
        return f"{packages} could not be installed ({last[:200]}): make clients"
    return None


def _digest(name: str) -> str:
    """What the environment depends on: its list, the script and the Python of the tests."""
    parts = [(LISTS / f"{name}.txt").read_bytes(), (ROOT / "scripts" / "install_clients.sh").read_bytes()]
    return hashlib.sha256(b"\0".join([*parts, sys.version.encode(), str(ROOT).encode()])).hexdigest()
