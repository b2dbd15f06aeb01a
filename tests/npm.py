"""Packages of npm, for tests with clients that nobody here wrote."""

import fcntl
import shutil
import subprocess
from pathlib import Path

import pytest

NODE = "22.23.3"
"""The Node that is installed where there is only an older one."""

ONE_SHORT_RETRY = ["--fetch-retries=1", "--fetch-retry-mintimeout=1000"]
"""Without a network npm would else wait for longer than a minute before it says so."""


def npm_folder(request: pytest.FixtureRequest, name: str, *packages: str, timeout_s: float) -> Path:
    """A folder with these packages (`name@version`) in its `node_modules`, kept in pytest's cache for the next run.

    Skips the test where node or npm is missing, or npm cannot install them in `timeout_s` seconds. No package's own
    script is run.
    """
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip(f"{name} needs node and npm, which are not installed here")
    cache = getattr(request.config, "cache", None)  # the plugin may be switched off
    folder: Path = cache.mkdir(name) if cache else request.getfixturevalue("tmp_path_factory").mktemp(name)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another worker may want the same
        installed, wanted = folder / "installed", " ".join(packages)
        if not installed.exists() or installed.read_text() != wanted:
            (folder / "package.json").write_text('{"private": true}')
            options = ["--no-audit", "--no-fund", "--ignore-scripts", *ONE_SHORT_RETRY]
            try:
                command = ["npm", "install", *options, *packages]
                subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=timeout_s)
            except (subprocess.SubprocessError, OSError) as error:
                pytest.skip(f"npm could not install {wanted}, so {name} is not tried ({type(error).__name__})")
            installed.write_text(wanted)
    return folder


def recent_node(request: pytest.FixtureRequest, at_least: tuple[int, int], *, timeout_s: float) -> Path:
    """The `node` of this machine, or one from npm where it is older than that.

    Skips the test where there is neither. The package `node` would do the same, but by a script that is run on install.
    """
    if (found := shutil.which("node")) is None:
        pytest.skip("this needs node and npm, which are not installed here")
    asked = [found, "-p", "[process.versions.node, process.platform, process.arch].join(' ')"]
    version, platform, arch = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.split()
    major, minor, *_ = version.split(".")
    if (int(major), int(minor)) >= at_least:
        return Path(found)
    package = f"node-bin-{platform}-{arch}" if (platform, arch) == ("darwin", "arm64") else f"node-{platform}-{arch}"
    folder = npm_folder(request, "node", f"{package}@{NODE}", timeout_s=timeout_s)
    return folder / "node_modules" / package / "bin" / "node"
