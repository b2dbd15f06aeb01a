"""The file of an audit log: what a killed process or a full disk leaves of it, and what is no log."""

import os
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evi_mcp.audit.file import AuditFile, check
from evi_mcp.audit.records import FIRST_PREVIOUS, encoded, sealed
from evi_mcp.audit.verify import Report, verify
from evi_mcp.errors import InvalidSetting
from tests.audit.disks import SmallDisk, records
from tests.audit.test_chain import chain

WHOLE = b"".join(chain())
LAST = chain()[-1]


def now() -> float:
    return 1_800_000_000.0


NEXT = encoded({"at": "2026-01-01T00:00:09.000Z", "type": "opened"})


def checked(path: Path) -> Report:
    with path.open("rb") as stream:
        return verify(stream)


def append(path: Path) -> None:
    file = AuditFile.open(path, now)
    try:
        file.append(NEXT)
    finally:
        file.close()


@pytest.mark.parametrize("lost", range(1, len(LAST) + 1))
def test_what_a_killed_process_left_of_a_record_stays_and_the_chain_goes_on(tmp_path: Path, lost: int) -> None:
    """Issue: at most the record being written is lost, and the log says so; nothing is cut off in silence."""
    path = tmp_path / "audit.jsonl"
    left = WHOLE[:-lost]
    path.write_bytes(left)
    torn = len(LAST) - lost
    before = checked(path)
    assert before.broken is None, "a log is sound while its server writes, and after it was killed"
    append(path)
    assert path.read_bytes().startswith(left)
    report = checked(path)
    assert report.broken is None
    added = records(path)[-2:]
    if lost == 1:  # all but the newline: the record is there
        assert (before.records, report.records, report.recovered) == (6, 7, 0)
    elif torn == 0:
        assert (before.records, report.records, report.recovered) == (5, 6, 0)
    else:
        assert (before.records, before.tail_bytes, report.records, report.recovered) == (5, torn, 7, 1)
        assert [record["type"] for record in added] == ["recovered", "opened"]
        assert added[0]["torn_bytes"] == torn
        forged = path.read_bytes().replace(left[-torn:] + b"\n", b"x" * torn + b"\n")
        path.write_bytes(forged)
        assert checked(path).broken is not None, "the remains are part of the chain"


@given(st.lists(st.integers(0, 900), max_size=6))
def test_a_disk_that_is_full_again_and_again_leaves_a_sound_log(rooms: list[int]) -> None:
    """Each failure may leave a part of a record, or of the one that was to account for the part before."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "audit.jsonl")
        file = SmallDisk.open(path, now)
        kept = [file.append(NEXT)]
        for room in rooms:
            file.room = room
            for _ in range(3):
                try:
                    kept.append(file.append(NEXT))
                except OSError:
                    continue
        file.room = None
        kept.append(file.append(NEXT))
        file.close()
        report = checked(path)
        assert report.broken is None
        assert kept == sorted(set(kept)) and report.records == kept[-1]
        append(path)
        assert checked(path).broken is None


@pytest.mark.parametrize(
    "content",
    [
        b"notes\n",
        b"notes",
        b'{"level":"info"}\n',
        WHOLE[:-4] + b"x" + WHOLE[-3:],
        WHOLE[:-2] + b"\n",
        WHOLE + b"notes\n",
        WHOLE + b"notes",
        WHOLE + b'{"n":6,"at"',
        WHOLE + sealed(7, FIRST_PREVIOUS, NEXT)[0],
        WHOLE + b'{"n":7,"at"\n{"n":8,"at"',
        WHOLE + b"\n",
        b"\n",
        b'{"n":1,' + b"x" * 200_000 + b"\n",
    ],
)
def test_what_does_not_end_as_a_log_does_is_refused_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    """A mistyped path must not spoil a file, and a log that somebody has changed must not go on as if it were sound."""
    path = tmp_path / "audit.jsonl"
    path.write_bytes(content)
    with pytest.raises(InvalidSetting, match="evi-mcp audit verify"):
        AuditFile.open(path, now)
    with pytest.raises(InvalidSetting, match="evi-mcp audit verify"):
        check(path)
    assert path.read_bytes() == content
    assert checked(path).broken is not None


def test_a_log_that_was_refused_is_free_again(tmp_path: Path) -> None:
    """Whoever repairs it, or is told that it is another's, must not find it held by a process that does not use it."""
    path = tmp_path / "audit.jsonl"
    path.write_bytes(WHOLE + b"notes\n")
    with pytest.raises(InvalidSetting):
        AuditFile.open(path, now)
    path.write_bytes(WHOLE)
    append(path)
    assert checked(path).records == 7


@pytest.mark.parametrize("missing", [0, 1, 2, 3])
def test_a_record_is_written_once_all_of_it_but_its_end_is_there(tmp_path: Path, missing: int) -> None:
    """A disk that is full right before the newline has the record: it was not lost, and the next one ends it."""
    path = tmp_path / "audit.jsonl"
    file = SmallDisk.open(path, now)
    before = len(path.read_bytes())
    assert file.append(NEXT) == 1
    size = len(path.read_bytes()) - before
    file.room = size - missing  # the second record is as long as the first
    if missing <= 1:
        assert file.append(NEXT) == 2
    else:
        with pytest.raises(OSError, match="No space left"):
            file.append(NEXT)
    file.room = None
    assert file.append(NEXT) == 3
    file.close()
    report = checked(path)
    assert (report.broken, report.records, report.recovered) == (None, 3, 0 if missing <= 1 else 1)


def test_a_new_log_is_for_its_owner_alone(tmp_path: Path) -> None:
    """It holds what was said on the phone."""
    path = tmp_path / "audit.jsonl"
    assert check(path) == "will be made at the first start" and not path.exists()
    append(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert check(path) == "goes on after record 1"


@pytest.mark.skipif(sys.platform == "win32", reason="has no such lock")
def test_two_writers_never_share_a_file(tmp_path: Path) -> None:
    """Each would continue its own chain."""
    path = tmp_path / "audit.jsonl"
    first = AuditFile.open(path, now)
    with pytest.raises(InvalidSetting, match="another server writes to it"):
        AuditFile.open(path, now)
    first.close()
    append(path)


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    """Also a named pipe that nobody reads, which would hold the start for good."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "none" / "audit.jsonl", Path("/dev/full"), Path("a\0b")):
        with pytest.raises(InvalidSetting):
            AuditFile.open(path, now)
        with pytest.raises(InvalidSetting):
            check(path)


def test_a_log_that_was_removed_or_cut_takes_no_more(tmp_path: Path) -> None:
    """What is written to a file that nobody can find, or after a gap, is not recorded. One that was moved is."""
    path = tmp_path / "audit.jsonl"
    file = AuditFile.open(path, now)
    file.append(NEXT)
    path = path.rename(tmp_path / "moved.jsonl")
    file.append(NEXT)
    os.truncate(path, 100)
    with pytest.raises(OSError, match="somebody else has changed the file"):
        file.append(NEXT)
    path.unlink()
    with pytest.raises(OSError, match="was removed"):
        file.append(NEXT)
    file.close()
    path.write_bytes(WHOLE + LAST)
    assert check(path)


def test_a_long_log_is_opened_by_its_end(tmp_path: Path) -> None:
    """A record may be longer than what is read at once, and there may be many."""
    path = tmp_path / "audit.jsonl"
    made = chain(["x" * 300_000, "y", "z" * 200_000])
    for count in (1, 2, 3):
        left = b'{"n":%d,"text":"' % (count + 1) + b"x" * 150_000
        path.write_bytes(b"".join(made[:count]) + left)
        append(path)
        assert (checked(path).broken, checked(path).records) == (None, count + 2)
