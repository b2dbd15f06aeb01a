"""Checks base URLs: whether one can be used, and whether it names this machine. It asks no name server."""

import ipaddress
import re
from urllib.parse import urlsplit

_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?|\[[0-9A-Fa-f:.]+\]")
_PATH = re.compile(r"(/[A-Za-z0-9._~-]*)*")
_DOTS = re.compile(r"/\.{1,2}(/|$)")


def usable_base_url(text: str) -> str:
    """The base URL in one form: the scheme in lower case, no slash at the end.

    It accepts only characters that every library reads in the same way. If two libraries disagree about the host of a
    URL, the key may go to the wrong one.

    Raises:
        ValueError: The URL cannot be used; the text says why and does not repeat the URL.
    """
    text = text.strip(" ")
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError(
            "has a character in it that no URL may have (a control character, a space, a letter beyond ASCII)"
        )
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError("must look like https://host or http://127.0.0.1:8080") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ValueError("must look like https://host or http://127.0.0.1:8080")
    if "@" in parts.netloc or "?" in text or "#" in text:
        raise ValueError("must have no user name, password, query or fragment in it")
    host = parts.netloc.removesuffix(f":{port}") if port is not None else parts.netloc.removesuffix(":")
    if not is_host(host) or not _PATH.fullmatch(parts.path) or _DOTS.search(parts.path):
        raise ValueError("has a character in it that a host or a path may not have")
    return f"{parts.scheme}://{parts.netloc.removesuffix(':')}{parts.path}".rstrip("/")


def is_host(text: str) -> bool:
    """Whether this can stand for a host in a URL: a name, an IPv4 address, or an IPv6 address in brackets."""
    return bool(_HOST.fullmatch(text))


def is_this_machine(base_url: str) -> bool:
    """Whether the host can only be this machine: an address of the loopback, or `localhost`.

    `0.0.0.0` counts: a system that connects to it connects to itself. Names such as `x.localhost` do not count: some
    resolvers ask the network for them.
    """
    host = (urlsplit(base_url).hostname or "").removesuffix(".")
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return address.is_loopback or address.is_unspecified


def is_encrypted(base_url: str) -> bool:
    """Whether the connection uses TLS. Without it, anybody on the network path can read the key."""
    return base_url[:6].lower() == "https:"


def host_and_port(text: str) -> tuple[str, int]:
    """The host, without brackets, and the port of an address to listen on, such as `127.0.0.1:8000` or `[::1]:0`.

    Raises:
        ValueError: It is not such an address; the text says why.
    """
    host, colon, port = text.strip().rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65_535 or not is_host(host):
        raise ValueError("must look like 127.0.0.1:8000, 0.0.0.0:8000 or [::1]:8000")
    return host.strip("[]"), int(port)
