"""Where the hub is: one address, checked before a call begins."""

from ipaddress import ip_address
from urllib.parse import urlsplit

PATH = "/v0/evi/link"
_SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}


def link_uri(hub: str, *, insecure: bool = False) -> str:
    """The WebSocket address of a hub's link, from its base address such as `http://127.0.0.1:8770`.

    Raises:
        ValueError: It is no base address, or would send the key in clear text to another machine (`insecure`: it may).
    """
    parts = urlsplit(hub if "://" in hub else f"//{hub}", scheme="http")
    scheme = _SCHEMES.get(parts.scheme.lower())
    if scheme is None or not parts.hostname or any(ord(letter) <= 32 or ord(letter) == 127 for letter in hub):
        raise ValueError("hub must be an address such as http://127.0.0.1:8770 or https://hub.example.com")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("hub must be a plain address; the key goes into `key`")
    if scheme == "ws" and not is_loopback(parts.hostname) and not insecure:
        raise ValueError(f"hub would get the key in clear text at {parts.hostname}: use https, or insecure=True")
    return f"{scheme}://{parts.netloc}{parts.path.rstrip('/')}{PATH}"


def is_loopback(host: str) -> bool:
    """Whether the host is this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() in ("localhost", "localhost.")
