"""A message to a chat without a socket: taken, refused for sure, never written, or nobody knows; and never twice."""

import asyncio
import contextlib
import subprocess
import sys

import anyio
import pytest
from pydantic import SecretStr

from evi_mcp.errors import SendNotReached, SendRefused, SendUnknown, ServiceUnavailable
from evi_mcp.protocol.commands import ResumeAssistantMessage
from evi_mcp.upstream.rest import RestClient
from tests.clocks import HandClock
from tests.listening import listening
from tests.secrets.places import somewhere
from tests.upstream.misbehaving import Asked, body, endless, head, serving

pytestmark = pytest.mark.anyio

FRAME = ResumeAssistantMessage().frame()


async def send(base_url: str, clock: HandClock | None = None) -> None:
    rest = RestClient(base_url, SecretStr("test-key"), clock=clock)
    try:
        with anyio.fail_after(20):
            await rest.send("c.1", FRAME, within_s=1.5)
    finally:
        await rest.aclose()


async def sent(base_url: str, clock: HandClock | None = None) -> ServiceUnavailable:
    """What comes of a message that was not taken."""
    with pytest.raises(ServiceUnavailable) as error:
        await send(base_url, clock)
    return error.value


@pytest.mark.parametrize(("status", "data"), [(200, b""), (200, b"{}"), (200, b"no JSON"), (202, b""), (204, b"")])
async def test_a_message_that_is_taken_is_sent_once_and_as_it_is(status: int, data: bytes) -> None:
    """Hume's reference of `/send`: one message in the body; 200 says that it was taken, with whatever body."""
    async with serving(body(data, status)) as service:
        await send(service.base_url)
    [asked] = service.asked
    assert (asked.method, asked.path, asked.body.decode()) == ("POST", "/v0/evi/chat/c.1/send", FRAME)
    assert "x-hume-api-key: test-key\r\n" in asked.head.lower()
    assert "content-type: application/json\r\n" in asked.head.lower()


@pytest.mark.parametrize("status", [301, 307, 400, 401, 403, 404, 408, 409, 422, 429, 499])
async def test_a_refusal_is_one_for_sure(status: int) -> None:
    """A 4xx is an answer. SDKs repeat the request on some of them, and then a line may be said twice."""
    async with somewhere() as other, serving(body(b"{}", status, f"Location: http://{other.address}/")) as service:
        error = await sent(service.base_url)
    assert isinstance(error, SendRefused) and error.status == status and f"HTTP {status}" in str(error)
    assert (len(service.asked), other.heads) == (1, [])


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_after_an_error_of_a_gateway_nobody_knows(status: int) -> None:
    """The service behind it may have taken the message (the reference on `/send` and 5xx)."""
    async with serving(body(b"", status)) as service:
        error = await sent(service.base_url)
    assert isinstance(error, SendUnknown) and f"HTTP {status}" in str(error)
    assert len(service.asked) == 1


async def hang_up(_: Asked, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def garbage(_: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(b"what?\r\n\r\n")
    writer.close()


@pytest.mark.parametrize("answering", [hang_up, garbage])
async def test_after_a_cut_nobody_knows(answering: object) -> None:
    """All of it was written, and no answer came."""
    async with serving(answering) as service:  # type: ignore[arg-type]
        error = await sent(service.base_url)
    assert isinstance(error, SendUnknown), error
    assert len(service.asked) == 1


async def test_where_nobody_listens_nothing_was_written() -> None:
    """It is safe to send it in another way."""
    async with serving(body(b"")) as service:
        pass
    error = await sent(service.base_url)
    assert isinstance(error, SendNotReached) and "connection refused" in str(error)


async def test_a_service_that_says_nothing_is_left_in_time() -> None:
    """The caller gives the time; at the end of the process there is little of it."""
    clock, done = HandClock(), anyio.Event()

    async def silent(_: Asked, __: asyncio.StreamWriter) -> None:
        await done.wait()

    async with serving(silent) as service, anyio.create_task_group() as group:
        found: list[ServiceUnavailable] = []

        async def sending() -> None:
            found.append(await sent(service.base_url, clock))

        group.start_soon(sending)
        await service.wait_asked(1)
        await clock.advance(1.4)
        assert found == []
        await clock.advance(0.2)
        done.set()
    assert isinstance(found[0], SendUnknown) and "within 1.5 s" in str(found[0])


async def test_an_answer_is_its_status_and_not_the_body_that_never_ends() -> None:
    """Taken is taken; the rest of the answer is not waited for."""
    async with serving(endless(b" ", 0.01)) as service:
        with anyio.fail_after(10):
            await send(service.base_url, HandClock())


async def test_before_tls_stands_nothing_was_written() -> None:
    """What sends no certificate was not told the key, and not the message."""
    clock = HandClock()
    opened, closed = anyio.Event(), anyio.Event()

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.read(1)
        assert first == b"\x16", "the first byte of a TLS handshake"
        opened.set()
        with contextlib.suppress(OSError):
            await reader.read()
        writer.close()
        closed.set()

    async with listening(mute) as address, anyio.create_task_group() as group:
        found: list[ServiceUnavailable] = []

        async def sending() -> None:
            found.append(await sent(f"https://{address}", clock))

        group.start_soon(sending)
        await opened.wait()
        await clock.advance(1.6)
        with anyio.fail_after(10):
            await closed.wait()  # what is given up is not left open
    assert isinstance(found[0], SendNotReached), found


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (head(407, "Content-Length: 0"), "opens no tunnel (HTTP 407)"),
        (head(200), ""),
        (b"nonsense\r\n\r\n", ""),
    ],
    ids=["refused", "then silent", "nonsense"],
)
async def test_a_request_for_a_tunnel_is_not_the_message(
    answer: bytes, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy is asked with the same machinery; while it opens no tunnel, nothing was written to the service."""
    async with somewhere(answer=answer) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.address}")
        error = await sent("https://evi.invalid")
    assert isinstance(error, SendNotReached) and said in str(error), error
    assert [line.split("\r\n")[0] for line in proxy.heads] == ["CONNECT evi.invalid:443 HTTP/1.1"]


async def test_a_proxy_that_cannot_be_used_lets_nothing_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not go round the proxy."""
    monkeypatch.setenv("HTTPS_PROXY", "ftp://127.0.0.1:9")
    error = await sent("https://evi.invalid")
    assert isinstance(error, SendNotReached) and "HTTPS_PROXY" in str(error)


def test_what_the_first_message_needs_can_be_loaded_ahead() -> None:
    """At the end of the process there are 1.5 s for it, of which loading the library would take half a second."""
    code = (
        "import sys; from pydantic import SecretStr; from evi_mcp.upstream.rest import RestClient\n"
        "rest = RestClient('http://127.0.0.1:9', SecretStr('test-key'))\n"
        "assert 'httpx' not in sys.modules, 'a server that needs no REST does not load it'\n"
        "rest.warm(); before = set(sys.modules)\n"
        "import asyncio; from evi_mcp.errors import SendNotReached\n"
        "async def main():\n"
        "    try: await rest.send('c', '{}', within_s=1.5)\n"
        "    except SendNotReached: print(sorted(m for m in set(sys.modules) - before if m.startswith('http')))\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n", "and then there is nothing left of it to load"
