"""The audit log of real processes: killed, short of disk, started twice; and the command that checks it."""

import json
import signal
import sys
import time
from pathlib import Path

import pytest

from tests import frames
from tests.audit.disks import records
from tests.fake_evi import KEY, FakeEvi
from tests.process.conftest import Process, evi_mcp
from tests.process.test_shutdown import within_limit
from tests.process.test_stdio import exited

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(sys.platform == "win32", reason="has neither locks nor limits")]

CHAT = "chat-1"


@pytest.fixture
def path(tmp_path: Path, evi: FakeEvi) -> Path:
    evi.history[CHAT] = [frames.metadata()]
    return tmp_path / "audit.jsonl"


async def verified(path: Path, *options: str) -> tuple[int, str]:
    """The status and the output of `evi-mcp audit verify`."""
    async with evi_mcp("audit", "verify", str(path), *options) as check:
        status, _ = await check.ended()
    return status, "\n".join(check.lines)


async def attached(server: Process) -> None:
    await server.initialize()
    assert not (await server.call("attach_chat", chat_id=CHAT)).get("isError")


def content(path: Path) -> bytes:
    return path.read_bytes()


def say(server: Process, text: str, request_id: str) -> None:
    server.ask(request_id, "send_user_input", chat_id=CHAT, text=text, wait_for_effect_s=0)


@pytest.mark.parametrize("after", [1, 7, 23])
async def test_a_server_killed_in_the_middle_of_commands_has_all_it_sent_on_record(
    evi: FakeEvi, path: Path, after: int
) -> None:
    """Issue: it survives `kill -9` with at most the record being written lost, and says so; the chain goes on."""
    async with evi_mcp(evi=evi, EVI_MCP_AUDIT_LOG=str(path)) as server:
        await attached(server)
        for number in range(200):
            say(server, f"line {number}", f"s{number}")
        await evi.until(lambda: len(evi.received[CHAT]) >= after)
        server.process.kill()
        await server.process.wait()
        await evi.until(lambda: evi.closes[CHAT])
    sent = [command["text"] for command in evi.received[CHAT]]
    recorded = [record["fields"]["text"] for record in records(path) if record["type"] == "command"]
    assert len(sent) >= after and set(sent) <= set(recorded)
    status, said = await verified(path)
    assert status == 0 and "the chain is unbroken" in said and "1 of them without an end: killed" in said
    following = records(path)[-1]["n"] + 1
    with path.open("ab") as log:
        log.write(b'{"n":%d,"at":"20' % following)  # what a kill in the middle of a write leaves
    async with evi_mcp(evi=evi, EVI_MCP_AUDIT_LOG=str(path)) as server:
        await attached(server)
        await server.call("pause", chat_id=CHAT)
        server.process.send_signal(signal.SIGTERM)
        await server.ended()
    status, said = await verified(path)
    assert status == 0 and "1 unfinished record, each accounted for" in said
    kinds = [record["type"] for record in records(path)]
    assert kinds[-7:] == ["recovered", "opened", "command", "outcome", "command", "outcome", "closed"]
    ours = [record for record in records(path) if record["type"] == "command"][-2:]
    assert [record["by"] for record in ours] == [
        {"id": "agent-1", "kind": "agent", "name": "by-hand"},
        {"id": "server:shutdown", "kind": "server", "name": "shutdown"},
    ]


KEEPS = """
import os
fsync = os.fsync

def told(descriptor):
    fsync(descriptor)
    with open(os.environ["SYNCED"], "a") as file:
        print(os.fstat(descriptor).st_ino, os.fstat(descriptor).st_size, file=file)

os.fsync = told
"""
"""A `sitecustomize` that writes down what the disk has been told to keep."""


def kept(path: Path, synced: Path) -> str:
    """What a power failure would leave of the file now."""
    told = {int(inode): int(size) for inode, size in map(str.split, synced.read_text().splitlines())}
    if path.parent.stat().st_ino not in told:
        return ""  # the folder does not know the file
    return content(path)[: told.get(path.stat().st_ino, 0)].decode()


async def test_the_disk_has_a_command_before_the_service_has_it(evi: FakeEvi, path: Path) -> None:
    """Our promise: not even a power failure takes the record of what a caller has heard."""
    path.with_name("sitecustomize.py").write_text(KEEPS)
    synced = path.with_name("synced")
    found: list[tuple[str, str]] = []

    async def look(chat_id: str, command: dict[str, str]) -> None:
        found.append((command.get("text", command["type"]), kept(path, synced)))

    evi.on_command = look
    environment = {"PYTHONPATH": str(path.parent), "SYNCED": str(synced)}
    async with evi_mcp(evi=evi, EVI_MCP_AUDIT_LOG=str(path), environment=environment) as server:
        await attached(server)
        for number in range(5):
            say(server, f"line {number}", f"s{number}")
        await server.call("pause", chat_id=CHAT)
        await evi.until(lambda: len(found) == 6)
        server.process.send_signal(signal.SIGTERM)
        await server.ended()
    assert all(what in had for what, had in found[:6]), found
    assert '"closed"' in kept(path, synced)


async def test_a_full_disk_refuses_commands_and_nothing_else(evi: FakeEvi, path: Path) -> None:
    """Issue: refused rather than sent unrecorded. Reading goes on, and so does speaking once there is room."""
    import resource

    async with evi_mcp(evi=evi, EVI_MCP_AUDIT_LOG=str(path)) as server:
        await attached(server)
        soft, hard = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (len(content(path)) + 50, hard))
        for _ in range(2):
            refusal = await server.call("send_user_input", chat_id=CHAT, text="unrecorded")
            assert refusal["isError"] and "nothing is sent unrecorded" in refusal["content"][0]["text"]
        assert not (await server.call("read_events", chat_id=CHAT)).get("isError")
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (soft, hard))
        answer = await server.call("send_user_input", chat_id=CHAT, text="recorded", wait_for_effect_s=0)
        assert not answer.get("isError")
        await evi.until(lambda: evi.received[CHAT])
        server.process.send_signal(signal.SIGTERM)
        _, log = await server.ended()
    assert [command["text"] for command in evi.received[CHAT]] == ["recorded"]
    assert [record["type"] for record in records(path)] == ["opened", "recovered", "command", "outcome", "closed"]
    assert (await verified(path))[0] == 0
    assert 'reason="File too large"' in log and "audit log can be written again" in log


HANGS = """
import os, time
from evi_mcp.audit.file import AuditFile
append, sync = AuditFile.append, AuditFile.sync

def hang():
    while os.path.exists(os.environ["HANGS"]):
        time.sleep(0.05)

def slow_append(self, *arguments, **options):
    hang()
    return append(self, *arguments, **options)

def slow_sync(self):
    hang()
    sync(self)

AuditFile.append, AuditFile.sync = slow_append, slow_sync
"""
"""A `sitecustomize`: the disk does not answer as long as a file is there."""


@pytest.mark.alone
@pytest.mark.parametrize("end", ["timer", "eof", "SIGTERM", "SIGHUP"])
async def test_a_disk_that_hangs_holds_neither_a_resume_nor_the_end(evi: FakeEvi, path: Path, end: str) -> None:
    """A resume that a recorded pause announced is sent in any case, also where nothing can be recorded, or known."""
    hangs = path.with_name("hangs")
    path.with_name("sitecustomize.py").write_text(HANGS)
    environment = {"PYTHONPATH": str(path.parent), "HANGS": str(hangs)}
    async with evi_mcp(evi=evi, EVI_MCP_AUDIT_LOG=str(path), environment=environment) as server:
        await attached(server)
        await server.call("pause", chat_id=CHAT, resume_after_s=0.5 if end == "timer" else 300)
        hangs.touch()
        if end == "eof":
            assert server.process.stdin is not None
            server.process.stdin.close()
        elif end != "timer":
            server.process.send_signal(getattr(signal, end))
        began = time.monotonic()
        await evi.until(lambda: len(evi.received[CHAT]) == 2)
        assert evi.received[CHAT][-1]["type"] == "resume_assistant_message"
        if end == "timer":
            assert (await server.call("get_chat", chat_id=CHAT))["structuredContent"]["state"] == "live"
            hangs.unlink()
            server.process.send_signal(signal.SIGTERM)
        await exited(server)
        if end != "timer":
            within_limit(began, end)
    if end == "timer":
        assert [record["type"] for record in records(path)[-3:]] == ["command", "outcome", "closed"]
    assert (await verified(path))[0] == 0


async def test_a_second_server_does_not_write_to_the_same_file(evi: FakeEvi, path: Path) -> None:
    """It ends at once, with status 2 and a sentence. Who only looks on does not need the file."""
    async with evi_mcp(evi=evi, EVI_MCP_AUDIT_LOG=str(path)) as server:
        await attached(server)
        async with evi_mcp("serve", "--simulate", EVI_MCP_AUDIT_LOG=str(path)) as second:
            status, log = await second.ended()
        assert (status, second.lines) == (2, [])
        assert "another server writes to it" in log and log.count("\n") == 1
        async with evi_mcp("watch", CHAT, evi=evi, EVI_MCP_AUDIT_LOG=str(path)) as watching:
            await evi.until(lambda: len(evi.sockets[CHAT]) == 2)
            watching.process.send_signal(signal.SIGINT)
            assert (await watching.ended())[0] == 130
        async with evi_mcp("doctor", evi=evi, EVI_MCP_AUDIT_LOG=str(path)) as doctor:
            assert (await doctor.ended())[0] == 0
        assert any("audit log" in line and "goes on after record 1" in line for line in doctor.lines)
        assert [record["type"] for record in records(path)] == ["opened"]


async def test_the_check_says_where_and_what(evi: FakeEvi, path: Path) -> None:
    """Status 0, 1 and 2, the line, the byte, and the hash that is worth keeping."""
    async with evi_mcp(evi=evi, EVI_MCP_AUDIT_LOG=str(path)) as server:
        await attached(server)
        await server.call("send_user_input", chat_id=CHAT, text="Hello", wait_for_effect_s=0)
        server.process.send_signal(signal.SIGTERM)
        await server.ended()
    status, said = await verified(path)
    assert status == 0 and "4 records, from 20" in said and "1 command, each with its outcome" in said
    last = json.loads(content(path).splitlines()[-1])["hash"]
    assert f"last hash: {last}" in said
    assert await verified(path, "--anchor", last) == (0, said.replace("\n1 command", "\nanchor: found\n1 command"))
    assert (await verified(path, "--anchor", "f" * 64))[0] == 1
    whole = content(path)
    with path.open("wb") as log:
        log.write(whole.replace(b"Hello", b"Howdy"))
    status, said = await verified(path)
    assert status == 1 and said.startswith(f"line 2, byte {whole.index(b'{', 1)}: it was changed")
    for missing in (path.with_name("none"), path.parent):
        async with evi_mcp("audit", "verify", str(missing)) as check:
            status, complaint = await check.ended()
        assert (status, check.lines, complaint.count("\n")) == (2, [], 1)


async def test_the_doctor_says_what_is_wrong_with_the_file(evi: FakeEvi, tmp_path: Path) -> None:
    """Before a server refuses to start."""
    (tmp_path / "notes.txt").write_text("notes\n")
    for name, said in (("notes.txt", "no record of an audit log"), ("none/audit.jsonl", "No such file")):
        async with evi_mcp("doctor", evi=evi, EVI_MCP_AUDIT_LOG=str(tmp_path / name)) as doctor:
            assert (await doctor.ended())[0] == 1
        assert any(line.startswith("FAIL  audit log") and said in line for line in doctor.lines)
        assert any(line.startswith("ok    service") for line in doctor.lines)
    async with evi_mcp("doctor", evi=evi, EVI_MCP_AUDIT_LOG="off") as doctor:
        assert (await doctor.ended())[0] == 0
    assert KEY not in "".join(doctor.lines) and "audit" not in "".join(doctor.lines)
