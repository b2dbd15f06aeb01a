"""`evi-mcp watch`, as people run it: in a terminal, into a pipe, and where something is wrong."""

import asyncio
import os
import re
import signal
import sys
import termios
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests import frames
from tests.fake_evi import KEY, FakeEvi
from tests.harness import CHAT
from tests.process.conftest import SCRIPT, Process, evi_mcp

pytestmark = pytest.mark.anyio

HOSTILE = "\x1b]0;owned\x07\x1b[2J\u202eevil [red]stop[/red]\r14:03:09      chat  ended\n\u200b\x9b31m"
HARMLESS = r"\u{1b}]0;owned\u{7}\u{1b}[2J\u{202e}evil [red]stop[/red] 14:03:09      chat  ended \u{200b}\u{9b}31m"
SECONDS = r"watched for \d+:\d\d, "


async def line(watch: Process) -> str:
    """The next line on stdout, without its time."""
    assert watch.process.stdout is not None
    read = (await watch.process.stdout.readline()).decode()
    assert read.endswith("\n") and re.match(r"\d\d:\d\d:\d\d |earlier  |         ", read), read
    return read[9:].strip()


@contextmanager
def not_reading(watch: Process) -> Iterator[None]:
    """Within, nobody reads the process's stdout, and its pipe fills up."""
    assert watch.process.stdout is not None
    pipe = watch.process.stdout._transport  # type: ignore[attr-defined]  # no public way to stop reading
    pipe.pause_reading()
    try:
        yield
    finally:
        pipe.resume_reading()  # else nobody would learn of its end


async def until_live(watch: Process) -> list[str]:
    """The lines up to the one that says that the chat is live."""
    lines: list[str] = []
    while not lines or lines[-1] != "chat  live":
        lines.append(await line(watch))
    return lines


async def test_a_piped_chat_is_plain_lines_as_it_happens_until_it_is_over(evi: FakeEvi) -> None:
    """`evi-mcp watch X | tee log`: each line at once, no escapes, nothing that changes later, nothing sent."""
    evi.history[CHAT] = [frames.metadata(), frames.assistant("Hello.", "m-0"), frames.prosody("m-0"), frames.end()]
    async with evi_mcp("watch", CHAT, evi=evi) as watch:
        assert await until_live(watch) == [
            f"chat  connecting to {CHAT} at {evi.base_url}",
            "assistant  Hello.",
            "Sympathy 0.44",
            "chat  live",
        ]
        await evi.push(CHAT, frames.user("Where", 100, interim=True), frames.user("Where is it?", 100))
        assert await line(watch) == "user  Where is it?"
        assert await line(watch) == "Disappointment 0.38, Interest 0.3, Anger 0.21"
        await evi.push(CHAT, frames.assistant("Let me see.", "m-1", quick=True))
        assert await line(watch) == "assistant  Let me see. (quick)"
        await evi.push(CHAT, frames.tool_call("call_1"), frames.prosody("m-1"), frames.audio("m-1"))
        assert await line(watch) == 'tool call  parcel_status {"number":"LY-4471"}  (needs an answer, call_1)'
        assert await line(watch) == 'voice of "Let me see.": Sympathy 0.44'
        await evi.push(CHAT, frames.tool_response("call_1", "in Lyon"), frames.typed("Hurry.", 500))
        assert await line(watch) == "answer  to parcel_status: in Lyon  (call_1)"
        assert await line(watch) == "user  Hurry. (typed, or a supervisor)"
        await evi.push(CHAT, frames.user(HOSTILE, 900, scores={}), frames.interruption())
        assert await line(watch) == f"user  {HARMLESS}"
        assert await line(watch) == "user  cuts in"
        evi.cut(CHAT)
        assert await line(watch) == "chat  reconnecting (the connection broke)"
        assert await line(watch) == "chat  live"
        await evi.push(CHAT, frames.user("Hello?", 2000, interim=True))
        await evi.close(CHAT, 1000, "the user left")
        status, log = await watch.ended()
    ended, summary = (read[9:].strip() for read in watch.lines)
    assert ended == 'chat  ended (EVI closed the chat: "the user left")'
    assert re.fullmatch(f"chat  {SECONDS}3 user messages, 2 assistant messages, 1 tool call, 1 reconnect", summary)
    assert (status, log) == (0, "")
    assert not evi.received[CHAT]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1])
async def test_a_signal_leaves_cleanly(evi: FakeEvi, signum: signal.Signals) -> None:
    """The chat goes on, the socket is closed as by someone who knows what they do, and nothing is sent on it: no answer
    to a tool call either, though the settings that it shares with a server ask for one."""
    evi.history[CHAT] = [frames.metadata(), frames.tool_call("call_1")]
    async with evi_mcp("watch", CHAT, "--tool-call-fallback", "0.001", evi=evi) as watch:
        await until_live(watch)
        await evi.push(CHAT, frames.user("Hello", 1, scores={}))
        assert await line(watch) == "user  Hello"
        watch.process.send_signal(signum)
        status, log = await watch.ended()
    assert (status, log) == (128 + signum, "")
    assert watch.lines[0].endswith("chat  left; the chat goes on")
    assert watch.lines[1].endswith("1 user message, 0 assistant messages, 1 tool call (1 without an answer)")
    await evi.until(lambda: evi.closes[CHAT])
    assert (evi.closes[CHAT], evi.received[CHAT]) == ([1000], [])


@pytest.mark.parametrize(
    ("arguments", "environment", "status", "said"),
    [
        ([CHAT], {"HUME_API_KEY": ""}, 1, "HUME_API_KEY is not set"),
        ([], {"HUME_API_KEY": ""}, 1, "HUME_API_KEY is not set"),
        ([CHAT], {"HUME_API_KEY": "wrong"}, 1, "refuses the key (HTTP 401)"),
        ([], {"HUME_API_KEY": "wrong"}, 1, "refuses the key (HTTP 401)"),
        (["gone"], {}, 1, 'cannot attach to chat "gone": the service refused the connection (HTTP 404)'),
        ([CHAT], {"EVI_MCP_ALLOWED_CHATS": "other"}, 1, "is not among the chats that this server may touch"),
        ([CHAT, "--reconnect-for", "0"], {"EVI_MCP_BASE_URL": "http://127.0.0.1:9"}, 1, "gave up after 0 s"),
        ([], {"EVI_MCP_BASE_URL": "http://127.0.0.1:9"}, 1, "the service cannot be asked"),
        ([], {}, 1, "no chat is active"),
        (["a b"], {}, 2, '"a b" is not a chat id'),
        (["--simulate", "a b"], {}, 2, '"a b" is not a chat id'),
        ([CHAT, "other"], {}, 2, "unexpected extra argument"),
        (["--simulate", "--base-url", "http://x"], {}, 2, "leave --base-url away"),
        ([CHAT, "--log-events", "0"], {}, 2, "--log-events"),
    ],
)
async def test_what_cannot_be_watched_is_one_line_on_stderr(
    evi: FakeEvi, arguments: list[str], environment: dict[str, str], status: int, said: str
) -> None:
    """As all commands: status 2 for misuse, 1 for what went wrong, in the words of the tools, and no traceback."""
    evi.refuse["gone"] = 404
    async with evi_mcp("watch", *arguments, evi=evi, environment=environment) as watch:
        ended, log = await watch.ended()
    assert said in log and log.startswith("evi-mcp: ") and log.count("\n") == 1
    assert ended == status
    assert all(KEY not in read for read in (log, *watch.lines))


async def test_it_says_why_it_is_still_connecting_and_goes_on(evi: FakeEvi) -> None:
    """A service that is in trouble now is one to wait for, not to leave; whoever waits wants to know why."""
    evi.history[CHAT] = [frames.metadata()]
    evi.refuse[CHAT] = 503
    async with evi_mcp("watch", CHAT, evi=evi) as watch:
        assert await line(watch) == f"chat  connecting to {CHAT} at {evi.base_url}"
        assert await line(watch) == "chat  connecting (the service is in trouble (HTTP 503))"
        del evi.refuse[CHAT]
        assert await line(watch) == "chat  live"
        watch.process.send_signal(signal.SIGINT)
        assert (await watch.ended())[0] == 130


async def test_a_chat_that_cannot_be_followed_any_more_is_no_success(evi: FakeEvi) -> None:
    """Status 0 says that the chat has ended, which nobody knows here."""
    evi.history[CHAT] = [frames.metadata()]
    async with evi_mcp("watch", CHAT, "--reconnect-for", "0", evi=evi) as watch:
        await until_live(watch)
        evi.refuse[CHAT] = 503
        evi.cut(CHAT)
        status, _ = await watch.ended()
    assert status == 1
    assert any("chat  failed (gave up after 0 s" in read for read in watch.lines)


async def test_without_an_id_the_only_active_chat_is_watched(evi: FakeEvi) -> None:
    """Nobody wants to copy an id if there is nothing to choose; the allow-list holds here too."""
    evi.chats = {id: {"id": id, "status": "ACTIVE", "start_timestamp": 1762430100123} for id in (CHAT, "other")}
    evi.history[CHAT] = [frames.metadata()]
    async with evi_mcp("watch", evi=evi, EVI_MCP_ALLOWED_CHATS=CHAT) as watch:
        assert (await until_live(watch))[0] == f"chat  connecting to {CHAT} at {evi.base_url}"
        await evi.close(CHAT)
        assert (await watch.ended())[0] == 0


async def test_without_an_id_several_active_chats_are_listed(evi: FakeEvi) -> None:
    """Only a person can say which one; what the service calls its chats is no more trusted than speech."""
    evi.chats = {id: {"id": id, "status": "ACTIVE", "start_timestamp": 1762430100123} for id in (CHAT, "\x1b[2J")}
    async with evi_mcp("watch", evi=evi, TZ="UTC") as watch:
        status, log = await watch.ended()
    assert [read.strip() for read in watch.lines] == [
        f"chat  {CHAT}  since 2025-11-06 11:55:00",
        r'chat  "\u{1b}[2J"  since 2025-11-06 11:55:00',
    ]
    assert (status, log) == (1, "evi-mcp: 2 chats are active; say which one: evi-mcp watch CHAT_ID.\n")


async def test_with_the_simulator_inside_there_is_a_call_to_watch_at_once() -> None:
    """No key, no id; one that is given names the call."""
    async with evi_mcp("watch", "--simulate", "my-call") as watch:
        assert (await line(watch)).startswith("chat  connecting to my-call at http://127.0.0.1:")
        # What was said while it connected comes with the history, before anybody can know that it is all.
        read = [await line(watch)]
        while read[-1] != "chat  live":
            read.append(await line(watch))
        if "assistant  Hello, this is parcel support." not in read:
            assert await line(watch) == "assistant  Hello, this is parcel support."
        watch.process.send_signal(signal.SIGINT)
        assert (await watch.ended())[0] == 130


async def test_it_leaves_when_whoever_reads_along_does(evi: FakeEvi) -> None:
    """`evi-mcp watch X | head -3` is no error, and no reason to stay."""
    evi.history[CHAT] = [frames.metadata()]
    async with evi_mcp("watch", CHAT, evi=evi) as watch:
        await until_live(watch)
        transport: Any = watch.process.stdout._transport  # type: ignore[union-attr]  # no public way to close a read pipe
        transport.close()
        while transport._pipe is not None:  # noqa: ASYNC110 - else the words are in the pipe before it is closed
            await asyncio.sleep(0)
        await evi.push(CHAT, frames.user("Hello", 1))
        assert watch.process.stderr is not None
        assert await watch.process.stderr.read() == b""
        assert await watch.process.wait() == 0
    await evi.until(lambda: evi.closes[CHAT])
    assert evi.closes[CHAT] == [1000]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
async def test_a_full_disk_is_one_line_on_stderr(evi: FakeEvi) -> None:
    """`evi-mcp watch X > log`: what cannot be written must not look like a chat in which nothing happens."""
    command = f"exec {SCRIPT} watch {CHAT} > /dev/full"
    environment = {"EVI_MCP_BASE_URL": evi.base_url, "HUME_API_KEY": KEY}
    shell = await asyncio.create_subprocess_shell(command, stderr=asyncio.subprocess.PIPE, env=environment)
    _, log = await shell.communicate()
    assert (shell.returncode, log) == (1, b"evi-mcp: stdout takes no more: No space left on device\n")


async def test_a_reader_who_stops_costs_the_chat_nothing_and_is_told_what_was_dropped(evi: FakeEvi) -> None:
    """A pager, or Ctrl-S: the socket is drained all the same, the log is the buffer, and it is bounded."""
    evi.history[CHAT] = [frames.metadata()]
    async with evi_mcp("watch", CHAT, "--log-events", "100", evi=evi) as watch:
        await until_live(watch)
        with not_reading(watch):
            for n in range(1000):
                await evi.push(CHAT, frames.user(f"{n} {'word ' * 500}", n * 1000, scores={}))
            [pong] = [await socket.ping() for socket in evi.sockets[CHAT]]
            await pong
        await evi.close(CHAT)
        assert (await watch.ended())[0] == 0
    said = [int(found[1]) for read in watch.lines if (found := re.search("user  ([0-9]+) word", read))]
    assert said == sorted(set(said)) and said[-1] == 999 and len(said) < 1000
    assert any("some of what was said is not here, for stdout was not read" in read for read in watch.lines)


# In a terminal

AS_A_SESSION = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)


class Terminal:
    """A terminal of 60 columns that knows what is used here: text, colours, and rewriting the row of the cursor.

    Its first row is empty.
    """

    def __init__(self, master: int, process: asyncio.subprocess.Process) -> None:
        self._master, self.process = master, process
        self.raw = b""

    @property
    def rows(self) -> list[str]:
        text = re.sub(r"(\x1b(\[[0-9;]*)?|\r)\Z", "", self.raw.decode(errors="ignore"))  # read in part, perhaps
        tokens = re.findall(r"\x1b\[[0-9;]*m|\r\x1b\[2K|\r\n|[^\x1b\r\n]", text)
        assert "".join(tokens) == text, "nothing else reaches the terminal"
        rows = ["", ""]
        for token in tokens:
            if token == "\r\n":
                rows.append("")
            elif token.startswith("\r"):
                rows[-1] = ""
            elif not token.startswith("\x1b"):
                rows[-1] += token
        return rows

    async def until(self, condition: Callable[[list[str]], bool]) -> list[str]:
        """Reads until the screen is so, or the other side has closed it."""
        while not condition(self.rows) and await self._read():
            pass
        assert condition(self.rows), self.rows
        return self.rows

    async def ended(self) -> int:
        while await self._read():
            pass
        return await self.process.wait()

    async def _read(self) -> bool:
        await anyio.wait_readable(self._master)
        read = b""
        with suppress(OSError):  # EIO: the other side is closed
            read = os.read(self._master, 65536)
        self.raw += read
        return bool(read)

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)


@asynccontextmanager
async def terminal(evi: FakeEvi, *arguments: str, **environment: str) -> AsyncIterator[Terminal]:
    master, slave = os.openpty()
    termios.tcsetwinsize(slave, (24, 60))
    keep = {name: os.environ[name] for name in ("PATH", "HOME", "COVERAGE_PROCESS_CONFIG") if name in os.environ}
    evi_at = {"EVI_MCP_BASE_URL": evi.base_url, "HUME_API_KEY": KEY, "TERM": "xterm-256color"}
    command = (sys.executable, "-S", "-c", AS_A_SESSION, SCRIPT, "watch", CHAT, *arguments)
    environment = {**keep, **evi_at, **environment}
    process = await asyncio.create_subprocess_exec(
        *command, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True
    )
    os.close(slave)
    try:
        async with asyncio.timeout(40):
            yield Terminal(master, process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(master)


async def test_what_is_being_said_is_rewritten_in_place_and_ctrl_c_leaves(evi: FakeEvi) -> None:
    """On a terminal words appear as they are spoken; the final ones take their place, and nothing is left of them."""
    evi.history[CHAT] = [frames.metadata()]
    async with terminal(evi) as screen:
        await screen.until(lambda rows: rows[-2].endswith("chat  live"))
        await evi.push(CHAT, frames.user("Where is", 100, interim=True))
        await screen.until(lambda rows: rows[-1].endswith("user   Where is"))
        await evi.push(CHAT, frames.user("Where is my coffee machine, I have been wai", 100, interim=True))
        await screen.until(lambda rows: rows[-1].endswith("user  … is my coffee machine, I have been wai"))
        await evi.push(CHAT, frames.assistant("Hm.", quick=True))
        rows = await screen.until(lambda rows: rows[-2].endswith("assistant  Hm. (quick)"))
        assert rows[-1].endswith("I have been wai"), "it is still being said"
        await evi.push(CHAT, frames.user("Where is my coffee machine, I have been waiting.", 100, scores={}))
        rows = await screen.until(lambda rows: rows[-2].strip() == "waiting.")
        assert rows[-3].endswith("user  Where is my coffee machine, I have been")
        assert rows[-1] == "" and len([row for row in rows if "Where" in row]) == 1
        await evi.push(CHAT, frames.user("And", 5000, interim=True))
        await screen.until(lambda rows: rows[-1].endswith("And"))
        screen.type(b"\x03")
        assert await screen.ended() == 130
    assert any(row.endswith("chat  left; the chat goes on") for row in screen.rows)
    assert "Traceback" not in screen.raw.decode() and b"\x1b[36m" in screen.raw
    await evi.until(lambda: evi.closes[CHAT])
    assert evi.closes[CHAT] == [1000]


async def test_hostile_speech_does_nothing_to_a_terminal(evi: FakeEvi) -> None:
    """Our contract (section 7): no title, no cleared screen, no reversed text, no markup, no line of its own."""
    evi.history[CHAT] = [frames.metadata(), frames.assistant(HOSTILE, "m-1")]
    async with terminal(evi, NO_COLOR="1") as screen:
        await screen.until(lambda rows: rows[-2].endswith("chat  live"))
        await evi.push(CHAT, frames.user(HOSTILE, 100, interim=True))
        await screen.until(lambda rows: rows[-1].endswith(HARMLESS[-30:]))
        await evi.close(CHAT)
        assert await screen.ended() == 0
    rows = screen.rows  # which fails if anything acts
    assert not re.search(rb"\x1b\[[0-9;]*3[0-9]", screen.raw), "NO_COLOR"
    first = next(at for at, row in enumerate(rows) if "assistant" in row)  # the summary speaks of messages, too
    said = [rows[first][20:]]
    while not rows[first + len(said)][:20].strip():
        said.append(rows[first + len(said)][20:])
    assert "".join(said).replace(" ", "") == HARMLESS.replace(" ", "")


async def test_a_terminal_that_cannot_rewrite_a_row_is_not_asked_to(evi: FakeEvi) -> None:
    """TERM=dumb, and one that is not of UTF-8: interim words are left away, odd letters are spelt out."""
    evi.history[CHAT] = [frames.metadata()]
    async with terminal(evi, TERM="dumb", PYTHONIOENCODING="ascii") as screen:
        await screen.until(lambda rows: rows[-2].endswith("chat  live"))
        await evi.push(CHAT, frames.user("Ça", 100, interim=True), frames.user("Ça va?", 100, scores={}))
        await evi.close(CHAT)
        assert await screen.ended() == 0
    assert b"\x1b" not in screen.raw
    assert [row[9:] for row in screen.rows if "user  " in row] == ["     user  \\xc7a va?"]
