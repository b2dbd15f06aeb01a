"""Every answer over REST has a size and a time, whatever the service does: on real sockets, by a clock of our own."""

import asyncio
import gzip
import json
import threading
import tracemalloc
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from pydantic import SecretStr

from evi_mcp.errors import ServiceUnavailable
from evi_mcp.protocol.codec import load_json
from evi_mcp.upstream.rest import LIST_TIMEOUT_S, MAX_PAGES, TIMEOUT_S, RestClient
from tests.clocks import HandClock
from tests.upstream.misbehaving import Answering, Asked, Service, body, bomb, endless, head, serving

pytestmark = pytest.mark.anyio

NO_CHATS = b'{"chats_page": [], "total_pages": 1}'


@asynccontextmanager
async def asking(answering: Answering, clock: HandClock | None = None) -> AsyncIterator[tuple[Service, RestClient]]:
    async with serving(answering) as service:
        rest = RestClient(service.base_url, SecretStr("test-key"), clock=clock)
        try:
            yield service, rest
        finally:
            await rest.aclose()


async def refused(answering: Answering) -> str:
    """What is said of a list that is answered so. The status of a chat is not known then, and that is no error."""
    async with asking(answering) as (_, rest):
        with anyio.fail_after(30), pytest.raises(ServiceUnavailable) as error:
            await rest.active_chats()
        assert await rest.chat_status("c-1") is None
    return str(error.value)


@pytest.mark.parametrize(
    "answering",
    [
        endless(b" " * 65_536),
        endless(b"0" * 65_536, 0.0, "Content-Length: 99999999999"),
        endless(b"ffff\r\n" + b" " * 0xFFFF + b"\r\n", 0.0, "Transfer-Encoding: chunked"),
        body(bomb(64), 200, "Content-Encoding: gzip"),
        body(zlib.compress(b" " * 2**26), 200, "Content-Encoding: deflate"),
        body(b" " * (2 * 2**20 + 1)),
    ],
    ids=["endless", "endless with a length", "endless chunks", "gzip bomb", "deflate bomb", "one byte over"],
)
async def test_an_answer_ends_at_its_limit_and_takes_no_memory(answering: Answering) -> None:
    """A bomb of 3 MB took 7 GiB: sizes are counted as they arrive and as they are inflated."""
    tracemalloc.start()
    try:
        said = await refused(answering)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "the answer has more than 2 MiB" in said
    assert peak < 24 * 2**20


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'{"chats_page": ' + b"[" * 1_000_000, "more than 100000 values"),
        (b'{"chats_page": ' + b"[" * 90_000, "something other than JSON"),
        (b'{"chats_page": [' + b"[]," * 300_000 + b"1]}", "more than 100000 values"),
        (b'{"chats_page": [' + b"1," * 900_000 + b"1]}", "more than 100000 values"),
        (b'{"chats_page": ["' + b"\\ud800" * 300_000, "something other than JSON"),
        (b"\xff\xfe\x00", "something other than JSON"),
        (b"", "something other than JSON"),
    ],
    ids=[
        "a million deep",
        "deep",
        "a million lists",
        "a million numbers",
        "surrogates",
        "no text",
        "empty",
    ],
)
async def test_json_that_would_hold_everybody_up_is_refused_in_a_sentence(data: bytes, said: str) -> None:
    """What makes many values of few bytes takes time and memory; that is counted before any is made."""
    assert said in await refused(body(data))


async def test_a_large_answer_is_read_beside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two MiB of JSON may take 20 ms and more, which the chats need."""
    threads: list[bool] = []

    def noted(text: str) -> Any:
        threads.append(threading.current_thread() is threading.main_thread())
        return load_json(text)

    monkeypatch.setattr("evi_mcp.upstream.http_client.load_json", noted)
    large = json.dumps({"chats_page": [], "x": "y" * 2**20}).encode()
    async with asking(body(large)) as (service, rest):
        assert await rest.active_chats() == ([], False)
        service.answering = body(NO_CHATS)
        assert await rest.active_chats() == ([], False)
    assert threads == [False, True]


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (NO_CHATS, "identity"),
        (gzip.compress(NO_CHATS, mtime=0), "gzip"),
        (gzip.compress(NO_CHATS, mtime=0), "X-GZip"),
        (zlib.compress(NO_CHATS), "deflate"),
        (b"\xef\xbb\xbf" + NO_CHATS, "identity"),
    ],
)
async def test_what_a_tolerant_reader_could_read_is_read(data: bytes, encoding: str) -> None:
    """Nothing compressed is asked for; some gateways compress all the same, and some write a byte order mark."""
    async with asking(body(data, 200, f"Content-Encoding: {encoding}")) as (service, rest):
        assert await rest.active_chats() == ([], False)
    assert "accept-encoding: identity" in service.asked[0].head.lower()


@pytest.mark.parametrize(
    ("answering", "said"),
    [
        (body(NO_CHATS, 200, "Content-Encoding: br"), "compressed in a way that was not asked for"),
        (body(b"no gzip", 200, "Content-Encoding: gzip"), "what answers there is not HTTP"),
        (body(b"", 503, "Retry-After: 7"), "HTTP 503; try again in 7 s"),
        (body(b"", 429, "Retry-After: 99999999"), "HTTP 429; try again in 3600 s"),
        (body(b"", 500), "HTTP 500; try again later"),
    ],
)
async def test_an_answer_that_cannot_be_used_says_why(answering: Answering, said: str) -> None:
    """It is what an agent reads, and all that it gets."""
    assert said in await refused(answering)


@pytest.mark.parametrize(
    "answering",
    [
        endless(b" ", 0.01),
        endless(b"1\r\n \r\n", 0.01, "Transfer-Encoding: chunked"),
        endless(b"X-More: yes\r\n", 0.01, "Content-Type: text/plain\r\nX-Endless: head"),
    ],
    ids=["body", "chunks", "nothing more of a body"],
)
async def test_an_answer_that_drips_is_given_up_in_time(answering: Answering) -> None:
    """Each byte comes within every limit of a single read; a list of chats took over 60 s in this way."""
    await give_up(answering)


async def test_an_answer_that_never_begins_is_given_up_in_time() -> None:
    """Its head may drip as well, or not come."""

    async def silent(_: Asked, __: asyncio.StreamWriter) -> None:
        await asyncio.sleep(3600)

    async def dripping(_: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        for n in range(10_000):
            writer.write(f"X-{n}: ".encode())
            await writer.drain()
            await asyncio.sleep(0.01)
            writer.write(b"\r\n")

    await give_up(silent)
    await give_up(dripping)


async def give_up(answering: Answering) -> None:
    """Asks for a list and for the status of a chat; both are given up when their time is over, and not before."""
    clock = HandClock()
    async with asking(answering, clock) as (service, rest):
        said: list[str] = []

        async def ask() -> None:
            with pytest.raises(ServiceUnavailable) as error:
                await rest.active_chats()
            said.append(str(error.value))
            assert await rest.chat_status("c-1") is None
            said.append("unknown")

        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                group.start_soon(ask)
                await service.wait_asked(1)
                await clock.advance(TIMEOUT_S - 0.1)
                assert said == []
                await clock.advance(0.2)
                await service.wait_asked(2)
                assert f"no whole answer within {TIMEOUT_S:g} s" in said[0]
                await clock.advance(TIMEOUT_S)
        assert said[1] == "unknown"


def page(*chat_ids: str, **fields: Any) -> bytes:
    chats = [{"id": chat_id, "status": "ACTIVE", "start_timestamp": 1762430100123} for chat_id in chat_ids]
    return json.dumps({"chats_page": chats, **fields}).encode()


def paged(*pages: bytes, repeat: bool = False) -> Answering:
    """Answers with the page that is asked for; beyond the last with an empty one, or with the last again."""

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        number = int(asked.path.split("page_number=")[1].split("&")[0])
        data = pages[number] if number < len(pages) else pages[-1] if repeat else page()
        await body(data)(asked, writer)

    return answer


@pytest.mark.parametrize(
    ("answering", "found", "asked"),
    [
        (paged(page("a", "b"), page("c"), page("d")), "abcd", 4),
        (paged(page("a", "b"), repeat=True), "ab", 2),
        (paged(page("a", total_pages=None), page("b", total_pages=None)), "ab", 3),
        (paged(page("a", total_pages="2"), page("b", total_pages="2")), "ab", 3),
        (paged(page("a", total_pages=2), page("b", total_pages=2), page("c", total_pages=2)), "ab", 2),
        (paged(page("a", total_pages=True), page("b", total_pages=True)), "ab", 3),
        (paged(page()), "", 1),
    ],
    ids=["no total", "one page for all numbers", "null", "text", "a total", "true", "nothing"],
)
async def test_a_list_is_followed_to_its_end_with_or_without_a_total(
    answering: Answering, found: str, asked: int
) -> None:
    """Without `total_pages` only the first page was read, and 100 chats were all that there were."""
    async with asking(answering) as (service, rest):
        chats, more = await rest.active_chats()
    assert ("".join(sorted(chat.chat_id for chat in chats)), more) == (found, False)
    assert len(service.asked) == asked


async def test_a_list_without_an_end_is_followed_so_far() -> None:
    """What was found is shown, and that there may be more."""
    counted = 0

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        nonlocal counted
        counted += 1
        await body(page(f"c-{counted}"))(asked, writer)

    async with asking(answer) as (_, rest):
        chats, more = await rest.active_chats()
    assert (len(chats), more, counted) == (MAX_PAGES, True, MAX_PAGES)


async def test_slow_pages_end_a_list_in_time() -> None:
    """Ten pages, each just in time, would keep an agent waiting for 50 s."""
    clock = HandClock()
    slow_s = TIMEOUT_S - 1

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        clock.jump(slow_s)
        await body(page(f"c-{len(service.asked)}"))(asked, writer)

    async with asking(answer, clock) as (service, rest):
        chats, more = await rest.active_chats()
    assert (len(chats), more) == (1 + LIST_TIMEOUT_S // slow_s, True)


async def test_a_service_that_hangs_up_in_the_middle_of_an_answer_is_said_so() -> None:
    """Half a list is none."""

    async def answer(_: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(head(200, "Content-Length: 1000") + NO_CHATS)
        await writer.drain()
        writer.close()

    assert "the service cannot be asked" in await refused(answer)
