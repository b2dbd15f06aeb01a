"""Proxies, certificates and limits of the machine, as a process finds them in its environment."""

import asyncio
import re
import resource
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests import frames
from tests.fake_evi import KEY, fake_evi
from tests.harness import CHAT
from tests.process.conftest import evi_mcp
from tests.secrets.certificates import self_signed
from tests.secrets.places import NO_ROUTE, answering_at_once, somewhere
from tests.upstream.misbehaving import Asked, body, bomb, endless, head, serving
from tests.upstream.proxies import LOGIN, tunnelling

pytestmark = pytest.mark.anyio

HARD = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
BOTH_WAYS = (("attach_chat", {"chat_id": CHAT}), ("list_chats", {"scope": "active"}))


@pytest.mark.parametrize("login", [False, True], ids=["anybody", "with a login"])
@pytest.mark.parametrize(
    ("variable", "scheme"),
    [
        ("HTTPS_PROXY", "http"),
        ("https_proxy", "https"),
        ("ALL_PROXY", "http"),
        ("all_proxy", "socks5h"),
        ("HTTPS_PROXY", "socks5"),
    ],
)
async def test_a_service_is_reached_through_a_proxy_that_cannot_read_the_key(
    tmp_path: Path, variable: str, scheme: str, login: bool
) -> None:
    """Sockets and REST alike, in a tunnel in which TLS begins: what the proxy sees of it is no word of a request."""
    file, context = self_signed(tmp_path, "evi.invalid")
    async with (
        fake_evi(context) as evi,
        tunnelling(
            int(evi.base_url.rsplit(":", 1)[1]),
            socks=scheme.startswith("socks"),
            context=context if scheme == "https" else None,
        ) as proxy,
    ):
        evi.history[CHAT] = [frames.metadata(), frames.user("Hello?", 100)]
        evi.chats[CHAT] = {"id": CHAT, "status": "ACTIVE"}
        user = f"{LOGIN[0]}:{quote(LOGIN[1], safe='')}@" if login else ""
        environment = {variable: f"{scheme}://{user}{proxy.address}", "SSL_CERT_FILE": str(file), "HUME_API_KEY": KEY}
        async with evi_mcp(environment=environment, EVI_MCP_BASE_URL="https://evi.invalid:8443") as server:
            await server.initialize()
            attached, listed = [await server.call(tool, **arguments) for tool, arguments in BOTH_WAYS]
            assert attached["structuredContent"]["state"] == "live", attached
            assert listed["structuredContent"]["chats"][0]["chat_id"] == CHAT, listed
    asked = "evi.invalid:8443" if scheme.startswith("socks") else "CONNECT evi.invalid:8443 HTTP/1.1"
    assert proxy.asked == [asked, asked]
    assert set(proxy.logins) == {LOGIN if login else None}
    assert KEY.encode() not in proxy.seen and b"/v0/evi" not in proxy.seen


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"ALL_PROXY": "socks4://127.0.0.1:9"}, 'ALL_PROXY names a proxy of the kind "socks4", which is not supported'),
        ({"HTTPS_PROXY": "http://me:s3cret@x:port"}, "HTTPS_PROXY is no address of a proxy"),
        ({"HTTPS_PROXY": "http://127.0.0.1:9"}, "connection refused"),
        ({"ALL_PROXY": "socks5h://127.0.0.1:9"}, "cannot be"),
    ],
    ids=["not supported", "no address", "not there", "socks not there"],
)
async def test_what_is_wrong_with_a_proxy_is_one_sentence(environment: dict[str, str], said: str) -> None:
    """In the tool's result, and no traceback in the log: nobody but who runs the server can mend it."""
    settings = {"HUME_API_KEY": KEY, "EVI_MCP_BASE_URL": "https://evi.invalid", "EVI_MCP_RECONNECT_FOR": "0"}
    async with evi_mcp(environment={**settings, **environment}) as server:
        await server.initialize()
        for tool, arguments in BOTH_WAYS:
            answer = await server.call(tool, **arguments)
            [text] = [part["text"] for part in answer["content"]]
            assert answer["isError"] and said in text and "inside this server" not in text, text
            assert text.count("\n") == 0 and "s3cret" not in text
        assert server.process.stdin is not None
        server.process.stdin.close()
        status, log = await server.ended()
    assert status == 0 and "Traceback" not in log and "s3cret" not in log, log


@pytest.mark.parametrize("nonsense", [b"HTTP/1.1 502 Bad\r\nContent-Length: 0\r\n\r\n", b"\x05\xff", b"\x00" * 40, b""])
@pytest.mark.parametrize("scheme", ["http", "https", "socks5h"])
async def test_what_is_no_proxy_is_one_sentence(scheme: str, nonsense: bytes) -> None:
    """An address with another service behind it is a common mistake; libraries for SOCKS raise whatever they like."""
    settings = {"HUME_API_KEY": KEY, "EVI_MCP_BASE_URL": "https://evi.invalid", "EVI_MCP_RECONNECT_FOR": "0"}
    async with answering_at_once(nonsense) as address:
        async with evi_mcp(environment=settings, HTTPS_PROXY=f"{scheme}://{address}") as server:
            await server.initialize()
            for tool, arguments in BOTH_WAYS:
                answer = await server.call(tool, **arguments)
                [text] = [part["text"] for part in answer["content"]]
                assert answer["isError"] and "inside this server" not in text, text
                assert not re.search(r"\([A-Z]\w+\)", text), "the name of a class is no reason"
            assert server.process.stdin is not None
            server.process.stdin.close()
            status, log = await server.ended()
    assert status == 0 and "Traceback" not in log and "Error" not in log, log


@pytest.mark.parametrize("bundle", ["missing.pem", "empty.pem", "."])
async def test_an_error_of_tls_names_the_variable_for_certificates(tmp_path: Path, bundle: str) -> None:
    """OpenSSL passes over a bundle that it cannot read, and then says that the service is not to be trusted."""
    (tmp_path / "certificates").mkdir()
    (tmp_path / "empty.pem").write_text("")
    _, context = self_signed(tmp_path / "certificates")
    file = tmp_path / bundle
    async with somewhere(context) as place:
        settings = {"HUME_API_KEY": KEY, "EVI_MCP_BASE_URL": f"https://{place.address}", "EVI_MCP_RECONNECT_FOR": "0"}
        async with evi_mcp(environment=settings, SSL_CERT_FILE=str(file)) as server:
            await server.initialize()
            for tool, arguments in BOTH_WAYS:
                text = (await server.call(tool, **arguments))["content"][0]["text"]
                assert "its TLS certificate is not valid: self-signed certificate; SSL_CERT_FILE names" in text, text
                assert str(file) in text
    assert place.heads == []


async def test_a_service_without_tls_is_told_from_one_with_a_bad_certificate() -> None:
    """`https` to a port that speaks http is a mistake in the base URL."""
    async with answering_at_once(NO_ROUTE) as address:
        settings = {"HUME_API_KEY": KEY, "EVI_MCP_BASE_URL": f"https://{address}", "EVI_MCP_RECONNECT_FOR": "0"}
        async with evi_mcp(environment=settings) as server:
            await server.initialize()
            for tool, arguments in BOTH_WAYS:
                text = (await server.call(tool, **arguments))["content"][0]["text"]
                assert "does not speak TLS" in text, text


async def test_the_soft_limit_of_open_files_is_raised_at_the_start() -> None:
    """Many systems start a process with 256 or 1,024, whatever it may have; each chat takes a socket."""
    async with fake_evi() as evi, evi_mcp(evi=evi, limits="-S -n 100") as server:
        await server.initialize()
        assert resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE) == (HARD, HARD)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_when_files_run_out_the_refusal_says_so_and_the_server_goes_on(host: str) -> None:
    """It said that the service could not be reached, and people looked for a fault there; so does a name that cannot be
    looked up for want of a file."""
    async with fake_evi() as evi:
        evi.base_url = evi.base_url.replace("127.0.0.1", host)
        for number in range(60):
            evi.history[f"c-{number}"] = [frames.metadata()]
        async with evi_mcp(evi=evi, limits="-n 40", EVI_MCP_RECONNECT_FOR="0") as server:
            await server.initialize()
            for number in range(60):
                server.ask(f"c-{number}", "attach_chat", chat_id=f"c-{number}")
            answers: dict[str, Any] = {}
            while len(answers) < 60:
                answer = await server.read()
                if "id" in answer:
                    answers[answer["id"]] = answer["result"]
            attached = [chat_id for chat_id, answer in answers.items() if not answer.get("isError")]
            for chat_id in answers.keys() - attached:
                text = answers[chat_id]["content"][0]["text"]
                assert "too many open files: raise the limit (ulimit -n) or lower EVI_MCP_MAX_CHATS" in text, text
            assert 10 < len(attached) < 40
            for chat_id in attached[:5]:
                await server.call("detach_chat", chat_id=chat_id)
            again = await server.call("attach_chat", chat_id="c-59")
            assert again["structuredContent"]["state"] == "live", "and what was freed can be used"


def peak_kb(pid: int) -> int:
    """The most memory that a process has had."""
    return int(re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[0])


async def test_an_endless_answer_of_rest_takes_no_memory_of_the_process() -> None:
    """Without any agent: a 403 makes the server ask why, and the answer was a bomb of 7 GiB."""
    packed = bomb(512)
    bombed = 0

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        nonlocal bombed
        if asked.path.endswith("/connect"):
            writer.write(head(403, "Content-Length: 0"))
            return
        bombed += 1
        if bombed % 2:
            await body(packed, 200, "Content-Encoding: gzip")(asked, writer)
        else:
            await endless(b"[" * 65_536)(asked, writer)

    async with serving(answer) as service:
        async with evi_mcp(EVI_MCP_BASE_URL=service.base_url, HUME_API_KEY=KEY) as server:
            await server.initialize()
            for number in range(4):
                refused = await server.call("attach_chat", chat_id=f"c-{number}")
                assert refused["isError"] and "HTTP 403" in refused["content"][0]["text"]
            peak = peak_kb(server.process.pid)
    assert bombed == 4
    assert peak < 200 * 1024, "kB at most, of which the program itself takes half"
