"""Who may use the hub: whoever shows one of its keys in the header, or any program of this machine if it has none.

Without keys a web page in a browser of this machine must not get in: it can open sockets to 127.0.0.1, also under
another name (DNS rebinding). A browser says where a page comes from in `Origin`, and which name was asked in `Host`.
"""

import hmac
import ipaddress
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit


def is_local(host: str) -> bool:
    """Whether an address, or the name of a host, is that of this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


class Keys:
    """Checks requests.

    Args:
        keys: Any of them will do; none lets in what comes from this machine and from no web page.
    """

    def __init__(self, keys: Sequence[str] = ()) -> None:
        self._keys = tuple(key.encode() for key in keys)

    def __repr__(self) -> str:
        return f"<Keys: {len(self._keys)}>"

    def __len__(self) -> int:
        return len(self._keys)

    def accept(self, headers: Mapping[str, str], query: Mapping[str, str]) -> bool:
        """Whether a request may pass. Every key is compared, in a time that says nothing of them.

        Args:
            headers: With names in lower case.
            query: Not looked at: a key in an address ends in logs.
        """
        if not self._keys:
            return "origin" not in headers and _asks_for_this_machine(headers.get("host", ""))
        shown = headers.get("x-hume-api-key", "").encode("utf-8", "surrogateescape")
        return sum(hmac.compare_digest(shown, key) for key in self._keys) > 0


def _asks_for_this_machine(host: str) -> bool:
    try:
        return is_local(urlsplit(f"//{host}").hostname or "")
    except ValueError:
        return False
