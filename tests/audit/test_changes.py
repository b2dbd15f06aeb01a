"""Somebody changes the file under a running server: nothing more is recorded in it, and so nothing is sent."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from evi_mcp.audit import file as audit_file
from evi_mcp.audit.file import AuditFile
from evi_mcp.audit.records import encoded
from evi_mcp.audit.verify import Report, verify
from tests.audit.disks import SmallDisk
from tests.audit.test_chain import chain
from tests.audit.test_file import checked, now

RECORD = encoded({"at": "2026-01-01T00:00:09.000Z", "type": "command", "fields": {"text": "Good morning"}})

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="does not tell at once when a file was changed")


class Open:
    """A log that a server has open, with a long record first and a short one last."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_bytes(b"".join(chain(["Hello", "x" * 20_000, "y"])))
        self.file = SmallDisk.open(path, now)
        self.file.append(RECORD)
        self._tick()

    def overwrite(self, old: bytes, new: bytes) -> None:
        """Another process writes over some bytes, in place."""
        assert len(old) == len(new)
        at = self.path.read_bytes().index(old)
        with self.path.open("r+b") as file:
            file.seek(at)
            file.write(new)

    def refuses(self) -> bool:
        try:
            self.file.append(RECORD)
        except OSError as error:
            assert "somebody else has changed the file" in str(error)
            return True
        return False

    def _tick(self) -> None:
        """Lets the file system's clock move on, so that a change gets another time than the server's own write."""
        before, probe = self.path.stat().st_mtime_ns, self.path.with_name("probe")
        probe.touch()
        while probe.stat().st_mtime_ns <= before:
            probe.touch()


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    opened = Open(tmp_path / "audit.jsonl")
    yield opened
    opened.file.close()


@pytest.mark.parametrize(("old", "new"), [(b"Hello", b"Howdy"), (b"xxxxx", b"xxyxx"), (b"Good", b"Evil")])
@pytest.mark.parametrize("hides", [False, True])
def test_an_edit_that_keeps_the_size_is_noticed(opened: Open, old: bytes, new: bytes, hides: bool) -> None:
    """Issue: of any record, the first, a long one or the last; also by one who sets the file's own time back."""
    times = opened.path.stat()
    opened.overwrite(old, new)
    if hides:
        os.utime(opened.path, ns=(times.st_atime_ns, times.st_mtime_ns))
    before = opened.path.read_bytes()
    assert opened.refuses() and opened.refuses()
    assert opened.path.read_bytes() == before
    opened.overwrite(new, old)
    assert not opened.refuses(), "it is as it was"
    assert checked(opened.path).broken is None


def test_an_edit_of_the_last_record_is_noticed_however_soon_it_comes(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within one tick of the file system's clock its times say nothing, so the end is read back."""
    monkeypatch.setattr(audit_file, "_times", lambda found: ())
    opened.overwrite(b"Good", b"Evil")
    assert opened.refuses()


def test_an_edit_before_the_first_record_of_a_start_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end is known from the start on, and not only once something was written."""
    monkeypatch.setattr(audit_file, "_times", lambda found: ())
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b"".join(chain()))
    file = AuditFile.open(path, now)
    path.write_bytes(path.read_bytes().replace(b"and more", b"and less"))
    with pytest.raises(OSError, match="somebody else has changed the file"):
        file.append(RECORD)
    file.close()


def test_a_log_written_anew_is_noticed_though_its_chain_is_sound(opened: Open) -> None:
    """Whoever may write the file can compute hashes too. What the server remembers is not in the file."""
    records = opened.path.read_bytes().splitlines(keepends=True)
    forged = chain(["Howdy", "x" * 20_000, "y"])
    end = records[-1]
    opened.path.write_bytes(b"".join(forged) + end)
    assert opened.path.stat().st_size == sum(map(len, records))
    assert opened.refuses()


@pytest.mark.parametrize(
    "touch",
    [
        lambda path: path.chmod(0o640),
        lambda path: os.utime(path),
        lambda path: os.link(path, path.with_name("copy")),
        lambda path: path.rename(path.with_name("moved")),
    ],
    ids=["chmod", "touch", "link", "rename"],
)
def test_what_does_not_change_a_record_keeps_nobody_from_recording(opened: Open, touch: Callable[[Path], None]) -> None:
    """An operator moves the file, or lets a group read it: the file is read again, and it goes on."""
    touch(opened.path)
    assert not opened.refuses()


def test_a_new_file_that_was_touched_takes_its_first_record(tmp_path: Path) -> None:
    """There is nothing in it that could have been changed."""
    path = tmp_path / "audit.jsonl"
    file = AuditFile.open(path, now)
    os.utime(path, ns=(0, 0))
    assert file.append(RECORD) == 1
    file.close()


def test_a_changed_file_is_read_again_once_and_not_for_every_command(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading a large one takes seconds, and agents ask again and again."""
    reads = 0

    def counted(stream: BinaryIO) -> Report:
        nonlocal reads
        reads += 1
        return verify(stream)

    monkeypatch.setattr(audit_file, "verify", counted)
    opened.refuses()
    assert reads == 0, "it is not read as long as nobody touches it"
    opened._tick()
    opened.overwrite(b"Hello", b"Howdy")
    assert all(opened.refuses() for _ in range(5))
    assert reads == 1


def test_remains_of_a_record_are_looked_at_too(opened: Open) -> None:
    """What a full disk has left is part of no chain until the next record accounts for it."""
    assert isinstance(opened.file, AuditFile)
    opened.file.room = 30
    with pytest.raises(OSError, match="No space left"):
        opened.file.append(RECORD)
    opened.file.room = None
    opened._tick()
    os.utime(opened.path)
    opened.overwrite(b'{"n":5,"at"', b'{"n":5,"be"')
    assert opened.refuses()
