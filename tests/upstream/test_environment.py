"""Which way to the service the environment says: one decision for sockets and REST, in words where there is none."""

import urllib.request
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.proxy import parse_proxy

from evi_mcp.upstream.environment import certificate_trouble, decide, route_to

HUME = "https://api.hume.ai"
PROXY = "http://proxy.corp:3128"


@pytest.mark.parametrize(
    ("proxies", "used"),
    [
        ({}, None),
        ({"https": PROXY}, PROXY),
        ({"all": PROXY}, PROXY),
        ({"https": PROXY, "all": "http://other:1"}, PROXY),
        ({"https": "", "all": PROXY}, PROXY),
        ({"http": PROXY}, None),
        ({"https": "proxy.corp:3128"}, PROXY),
        ({"https": "HTTP://PROXY.corp:3128/"}, PROXY),
        ({"https": " http://proxy.corp:3128 "}, PROXY),
        ({"https": "http://proxy.corp"}, "http://proxy.corp:80"),
        ({"https": "https://proxy.corp"}, "https://proxy.corp:443"),
        ({"https": "http://[::1]:3128"}, "http://[::1]:3128"),
        ({"https": "http://me:p%40ss@proxy.corp:1"}, "http://me:p%40ss@proxy.corp:1"),
        ({"https": "http://me@proxy.corp:1"}, "http://me:@proxy.corp:1"),
        ({"all": "socks5://proxy.corp"}, "socks5h://proxy.corp:1080"),
        ({"all": "socks5h://me:pw@proxy.corp:9"}, "socks5h://me:pw@proxy.corp:9"),
    ],
)
def test_the_proxy_is_the_one_for_https_else_the_one_for_all(proxies: Mapping[str, str], used: str | None) -> None:
    """As curl reads them; a proxy for http alone has no part in https."""
    route = decide(HUME, proxies)
    assert (route.proxy, route.trouble) == (used, None)


@pytest.mark.parametrize(
    ("proxy", "said"),
    [
        ("ftp://proxy.corp", 'HTTPS_PROXY names a proxy of the kind "ftp", which is not supported'),
        ("socks4://proxy.corp", 'HTTPS_PROXY names a proxy of the kind "socks4", which is not supported'),
        ("socks://proxy.corp", 'HTTPS_PROXY names a proxy of the kind "socks", which is not supported'),
        ("http://proxy.corp:99999", "HTTPS_PROXY is no address of a proxy"),
        ("http://proxy.corp:port", "HTTPS_PROXY is no address of a proxy"),
        ("http://proxy.corp:0", "HTTPS_PROXY is no address of a proxy"),
        ("http://[::1", "HTTPS_PROXY is no address of a proxy"),
        ("http://", "HTTPS_PROXY is no address of a proxy"),
        ("http://a b", "HTTPS_PROXY is no address of a proxy"),
        ("http://me:s3cret@a\\b", "HTTPS_PROXY is no address of a proxy"),
        ("http://prøxy", "HTTPS_PROXY is no address of a proxy"),
        ("http://proxy.corp/pac", "HTTPS_PROXY is no address of a proxy"),
        ("http://proxy.corp?x", "HTTPS_PROXY is no address of a proxy"),
        ("http://me:%ff@proxy.corp", "HTTPS_PROXY is no address of a proxy"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_said_so_in_a_sentence(proxy: str, said: str) -> None:
    """Left to themselves, the libraries raise their own errors, each others, and one of them repeats the password."""
    route = decide(HUME, {"https": proxy})
    assert route.proxy is None and route.trouble is not None
    assert route.trouble.startswith(said) and "s3cret" not in str(route)


def test_socks_without_its_packages_says_what_to_install() -> None:
    """Found before a connection is tried: the libraries raise an ImportError in the middle of one."""
    route = decide(HUME, {"all": "socks5h://127.0.0.1:1080"}, socks=False)
    assert route.proxy is None and route.trouble is not None
    assert "ALL_PROXY names a SOCKS proxy" in route.trouble and "evi-mcp[socks]" in route.trouble


@pytest.mark.parametrize(
    ("base_url", "excepted", "bypasses"),
    [
        (HUME, "*", True),
        (HUME, "api.hume.ai", True),
        (HUME, "hume.ai", True),
        (HUME, ".hume.ai", True),
        (HUME, "*.hume.ai", True),
        (HUME, "HUME.AI", True),
        (HUME, "hume.ai.", True),
        ("https://api.hume.ai.", "hume.ai", True),
        ("https://API.HUME.AI", "api.hume.ai", True),
        (HUME, "x, hume.ai ,y", True),
        (HUME, "x hume.ai", True),
        (HUME, "hume.ai:443", True),
        (HUME, "hume.ai:8443", False),
        ("https://api.hume.ai:8443", "hume.ai:8443", True),
        (HUME, "ume.ai", False),
        (HUME, "pi.hume.ai", False),
        (HUME, "api.hume.ai.evil", False),
        (HUME, "", False),
        (HUME, ",,. ,*.", False),
        (HUME, "10.0.0.0/8", False),
        ("https://10.1.2.3", "10.0.0.0/8", True),
        ("https://10.1.2.3", "10.1.2.3", True),
        ("https://10.1.2.3:8443", "10.1.2.3:8443", True),
        ("https://10.1.2.3:8443", "10.1.2.3:443", False),
        ("https://10.1.2.3", "10.1.2.99/24", True),
        ("https://11.1.2.3", "10.0.0.0/8", False),
        ("https://10.1.2.3", "1.2.3", False),
        ("https://10.1.2.3", "10.0.0.0/99", False),
        ("https://[fd00::1]", "[fd00::1]", True),
        ("https://[fd00::1]", "fd00::1", True),
        ("https://[fd00::1]", "fd00:0::1", True),
        ("https://[fd00::1]", "fd00::/8", True),
        ("https://[fd00::1]", "[fd00::]/8", True),
        ("https://[fd00::1]:8443", "[fd00::1]:8443", True),
        ("https://[fd00::1]:8443", "[fd00::1]:443", False),
        ("https://[fd00::1]", "10.0.0.0/8", False),
        ("https://[fd00::1]", "[::1]", False),
    ],
)
def test_exceptions_are_names_domains_addresses_and_networks(base_url: str, excepted: str, bypasses: bool) -> None:
    """One library knew no networks, and the other raised at `[::1]`: the same list is now read once, for both."""
    route = decide(base_url, {"https": PROXY, "no": excepted})
    assert (route.proxy is None, route.trouble) == (bypasses, None)


@pytest.mark.parametrize(
    "base_url", ["http://api.hume.ai", "http://127.0.0.1:8080", "https://localhost", "https://[::1]"]
)
def test_without_tls_and_on_this_machine_there_is_no_proxy(base_url: str) -> None:
    """A proxy would read the key, or stand in for a service on its own machine; not even a wrong one is in the way."""
    for proxy in (PROXY, "socks5h://proxy.corp", "ftp://x"):
        route = decide(base_url, {"http": proxy, "https": proxy, "all": proxy})
        assert (route.proxy, route.trouble) == (None, None)


@given(
    st.fixed_dictionaries({}, optional={name: st.text(max_size=30) for name in ("https", "all", "no")}),
    st.sampled_from([HUME, "https://10.1.2.3:8443", "https://[fd00::1]", "http://x", "https://127.0.0.1"]),
    st.booleans(),
)
def test_whatever_the_variables_hold_there_is_a_decision(proxies: dict[str, str], base_url: str, socks: bool) -> None:
    """They come from profiles and images that nobody looks at; a traceback from there ends no server."""
    route = decide(base_url, proxies, socks=socks)
    assert route.proxy is None or route.trouble is None
    assert route.shown


urls = st.builds(
    "{}{}{}{}{}".format,
    st.sampled_from(["http://", "https://", "socks5://", "socks5h://", "", "//", "HTTP://"]),
    st.sampled_from(["", "me@", "me:@", "me:pw@", "m%20e:p%40@", "a:b@c:d@", ":@", ":pw@", "%@"]) | st.text(max_size=6),
    st.sampled_from(["proxy.corp", "10.0.0.1", "[::1]", "[::1", "a_b", "-a", "x" * 64, "a..b", ""])
    | st.text(max_size=6),
    st.sampled_from(["", ":", ":0", ":1", ":65535", ":65536", ":x"]),
    st.sampled_from(["", "/", "//", "/x", "?", "#", "\n"]),
)


@given(urls)
def test_what_is_decided_both_libraries_can_read(proxy: str) -> None:
    """And in the same way: what one of them refuses must not be found out in the middle of a connection."""
    route = decide(HUME, {"https": proxy})
    if route.proxy is not None:
        ours, theirs = parse_proxy(route.proxy), httpx.Proxy(route.proxy)
        assert (ours.scheme, ours.host, ours.port) == (theirs.url.scheme, theirs.url.host.strip("[]"), ours.port)
        assert theirs.url.port in (ours.port, None)
        assert (ours.username, ours.password) == (theirs.auth or (None, None))


def test_a_password_of_a_proxy_is_not_shown() -> None:
    """`doctor` shows the decision."""
    shown = decide(HUME, {"https": "http://me:s3cret@proxy.corp:1"}).shown
    assert shown == "http://proxy.corp:1, with a password (HTTPS_PROXY)"


def test_variables_are_read_in_capitals_and_small_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real environment, as the standard library reads it."""
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert route_to(HUME).proxy is None
    monkeypatch.setenv("ALL_PROXY", "http://all:1")
    assert route_to(HUME).proxy == "http://all:1"
    monkeypatch.setenv("https_proxy", "http://small:1")
    assert route_to(HUME).proxy == "http://small:1"
    monkeypatch.setenv("no_proxy", "hume.ai")
    assert route_to(HUME).proxy is None


def test_the_systems_own_settings_count_where_no_variable_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS and Windows keep a proxy and exceptions of their own, which programs there are expected to follow."""
    monkeypatch.setattr(urllib.request, "getproxies", lambda: {"https": "http://system:1"})
    monkeypatch.setattr(urllib.request, "getproxies_environment", dict)
    monkeypatch.setattr(urllib.request, "proxy_bypass", lambda host: host == "internal.corp", raising=False)
    assert route_to(HUME).proxy == "http://system:1"
    assert route_to("https://internal.corp").proxy is None


def test_what_is_wrong_with_the_certificates_is_said(tmp_path: Path) -> None:
    """OpenSSL ignores a file that is not there, and then trusts nobody, which is told of as a fault of the service."""
    (tmp_path / "empty.pem").write_text("no certificate\n")
    missing, empty = tmp_path / "missing.pem", tmp_path / "empty.pem"
    assert f'SSL_CERT_FILE names "{missing}", which cannot be read' in str(
        certificate_trouble({"SSL_CERT_FILE": str(missing)})
    )
    assert "SSL_CERT_FILE" in str(certificate_trouble({"SSL_CERT_FILE": str(tmp_path)}))
    assert "holds no certificate" in str(certificate_trouble({"SSL_CERT_FILE": str(empty)}))
    assert "SSL_CERT_DIR" in str(certificate_trouble({"SSL_CERT_DIR": str(missing)}))
