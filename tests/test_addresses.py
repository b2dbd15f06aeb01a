"""Which base URLs can be used, and which name this machine: that decides where the key goes, and if in clear text."""

from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from websockets.uri import parse_uri

from evi_mcp.addresses import is_this_machine, usable_base_url
from evi_mcp.config import Settings


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("https://api.hume.ai", "https://api.hume.ai"),
        ("HTTPS://api.hume.ai/", "https://api.hume.ai"),
        ("Http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        (" https://api.hume.ai ", "https://api.hume.ai"),
        ("https://gateway.corp/evi/v1/", "https://gateway.corp/evi/v1"),
        ("https://[fd00::1]:8443", "https://[fd00::1]:8443"),
        ("https://evi_server:8443", "https://evi_server:8443"),
        ("https://api.hume.ai:", "https://api.hume.ai"),
    ],
)
def test_a_usable_base_url_has_one_form(given: str, used: str) -> None:
    """A scheme is the same in capitals (RFC 3986, section 3.1)."""
    assert usable_base_url(given) == used


@pytest.mark.parametrize(
    "given",
    [
        *(
            f"https://api.hume.ai{character}"
            for character in "\0\t\n\r\x1b\x1f\x7f\x85\xa0\u2028\u200b\\é<>\"{}|^`%,;'"
        ),
        *(f"https://api{character}.hume.ai" for character in "\0\t\n\r\\ é%@,;*[]"),
        *(f"https://api.hume.ai/x{character}y" for character in "\0\t\n\r\\ é%@,;*[]"),
        "https://api.hume.ai\n.evil.invalid",
        "https://api.hume.ai/../x",
        "https://api.hume.ai/./x",
        "https://api.hume.ai/..",
        "https://me@api.hume.ai",
        "https://me:pw@api.hume.ai",
        "https://api.hume.ai@evil.invalid",
        "https://api.hume.ai?x",
        "https://api.hume.ai?",
        "https://api.hume.ai#",
        "https://api.hume.ai:0",
        "https://api.hume.ai:65536",
        "https://api.hume.ai:080",
        "https://api.hume.ai:x",
        "https://[::1",
        "https://::1",
        "https://[::1%25lo]",
        "https://",
        "https:api.hume.ai",
        "https:/api.hume.ai",
        "//api.hume.ai",
        "api.hume.ai",
        "ws://api.hume.ai",
        "file:///etc/passwd",
        "",
    ],
)
def test_a_base_url_that_two_readers_could_read_in_two_ways_is_refused(given: str) -> None:
    """Control characters, blanks, backslashes and what hides a host: the settings refuse them before a key is sent."""
    with pytest.raises(ValueError, match=r"must|has a character"):
        usable_base_url(given)
    with pytest.raises(ValidationError) as error:
        Settings(base_url=given)
    assert "pw" not in str(error.value)


@given(st.text(max_size=40) | st.from_regex(r"https?://[a-z0-9.:/\\@\[\]%_-]{1,30}", fullmatch=True))
def test_what_is_accepted_is_one_host_for_every_reader(given: str) -> None:
    """The standard library, that for sockets and that for REST agree on where a request goes."""
    try:
        used = usable_base_url(given)
    except ValueError:
        return
    host, port = urlsplit(used).hostname, urlsplit(used).port
    assert usable_base_url(used) == used and host is not None
    socket = parse_uri(f"ws{used[4:]}/v0/evi")
    assert (socket.host, socket.port) == (host, port or (443 if used.startswith("https") else 80))
    try:
        rest = httpx.URL(used)
    except httpx.InvalidURL:
        return  # a name that cannot be one: nothing is sent
    assert (rest.host.removeprefix("[").removesuffix("]"), rest.port or port) == (host, port)


@pytest.mark.parametrize(
    ("base_url", "here"),
    [
        ("http://127.0.0.1:8080", True),
        ("http://127.9.9.9", True),
        ("http://localhost:1", True),
        ("http://LOCALHOST.", True),
        ("http://[::1]:1", True),
        ("http://[0:0:0:0:0:0:0:1]", True),
        ("http://[::ffff:127.0.0.1]", True),
        ("http://0.0.0.0:8080", True),
        ("http://127.0.0.1.evil.invalid", False),
        ("http://127.evil.invalid", False),
        ("http://localhost.evil.invalid", False),
        ("http://evil.localhost", False),
        ("http://10.0.0.1", False),
        ("http://192.168.1.2", False),
        ("http://[fd00::1]", False),
        ("http://[::ffff:10.0.0.1]", False),
        ("http://evi", False),
        ("http://2130706433", False),
    ],
)
def test_this_machine_is_told_from_names_that_look_like_it(base_url: str, here: bool) -> None:
    """`127.0.0.1.evil.invalid` was taken for it, and is anybody's; in doubt the key does not go out in clear text."""
    assert is_this_machine(base_url) == here
    if here:
        assert Settings(base_url=base_url).base_url == base_url
    else:
        with pytest.raises(ValidationError, match="sends the key in clear text"):
            Settings(base_url=base_url)
        assert Settings(base_url=base_url, allow_plain_http=True).allow_plain_http
