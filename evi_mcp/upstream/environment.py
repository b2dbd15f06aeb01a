"""Decides by the environment how to reach the service: through which proxy, and which certificates to trust.

Sockets and REST use libraries that read the environment in two different ways. So this module decides for both, and
neither reads it itself. Only HTTPS goes through a proxy, in a tunnel (`CONNECT`, or SOCKS): without TLS a proxy could
read the key. The variables: `HTTPS_PROXY`, else `ALL_PROXY`, unless `NO_PROXY` names the host, each in capitals or
small letters; on macOS and Windows the proxy of the system, if no variable names one. `SSL_CERT_FILE` and
`SSL_CERT_DIR` are read by OpenSSL.
"""

import ipaddress
import os
import ssl
import urllib.request
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from evi_mcp.addresses import is_encrypted, is_host, is_this_machine
from evi_mcp.quoting import quote

_SCHEMES = ("http", "https", "socks5", "socks5h")


class Route(NamedTuple):
    """The way to the service.

    Attributes:
        proxy: Its URL, with a user name and a password if it needs them; `None` means a direct connection.
        trouble: Why there is no way, as the end of a sentence; `None` if there is a way.
        shown: The decision in words, without a password.
    """

    proxy: str | None
    trouble: str | None
    shown: str


def route_to(base_url: str) -> Route:
    """The way to a service, by the environment of this process as it is now."""
    proxies = urllib.request.getproxies()
    host = urlsplit(base_url).hostname or ""
    if proxies and not urllib.request.getproxies_environment() and urllib.request.proxy_bypass(host):
        proxies = {}  # they are the system's, whose own list of exceptions names the host
    return decide(base_url, proxies, socks=bool(find_spec("python_socks") and find_spec("socksio")))


def decide(base_url: str, proxies: Mapping[str, str], *, socks: bool = True) -> Route:
    """The way to a service.

    Args:
        proxies: `https` and `all` are URLs of proxies, `no` is the list of exceptions; as `urllib.request.getproxies`.
        socks: Whether the packages for SOCKS are installed.
    """
    if not is_encrypted(base_url):
        return Route(None, None, "none, since a proxy would read what is not encrypted")
    if is_this_machine(base_url):
        return Route(None, None, "none, since the service runs on this machine")
    variable, proxy = next(
        ((f"{name.upper()}_PROXY", proxies[name]) for name in ("https", "all") if proxies.get(name)), ("", "")
    )
    if not proxy:
        return Route(None, None, "none")
    if _is_exception(base_url, proxies.get("no", "")):
        return Route(None, None, "none, since NO_PROXY names the host")
    return _checked(proxy, variable, socks)


def _checked(proxy: str, variable: str, socks: bool) -> Route:
    """The way through this proxy, if both libraries support its kind. Its URL may hold a password and is not shown."""
    url = proxy.strip() if "://" in proxy else f"http://{proxy.strip()}"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        unquote(parts.username or "", errors="strict"), unquote(parts.password or "", errors="strict")
    except ValueError:
        return _no_way(f"{variable} is no address of a proxy; it must look like http://host:port")
    scheme = parts.scheme
    if scheme not in _SCHEMES:
        return _no_way(
            f"{variable} names a proxy of the kind {quote(scheme, 20)}, which is not supported; http, https, socks5 and"
            " socks5h are"
        )
    place = f"[{host}]" if ":" in host else host
    readable = url.isascii() and url.isprintable() and " " not in url
    if not readable or not is_host(place) or port == 0 or parts.path.strip("/") or parts.query or parts.fragment:
        return _no_way(f"{variable} is no address of a proxy; it must look like http://host:port")
    if scheme.startswith("socks"):
        if not socks:
            return _no_way(
                f"{variable} names a SOCKS proxy, for which two packages are missing: install 'evi-mcp[socks]', or set"
                " HTTPS_PROXY to an HTTP proxy"
            )
        # For socks5 one library resolves names itself, the other never does. With socks5h the proxy does, for both.
        scheme, port = "socks5h", port or 1080
    port = port or (443 if scheme == "https" else 80)
    login = f"{parts.netloc.rpartition('@')[0]}@" if parts.username else ""
    if parts.username and parts.password is None:
        login = f"{login[:-1]}:@"  # one of the libraries needs a password, even an empty one
    shown = f"{scheme}://{place}:{port}{', with a password' if login else ''} ({variable})"
    return Route(f"{scheme}://{login}{place}:{port}", None, shown)


def _no_way(trouble: str) -> Route:
    return Route(None, trouble, trouble)


def _is_exception(base_url: str, listed: str) -> bool:
    """Whether the host is among the exceptions: by name, as part of a domain, by address or network, or by `*`.

    Commas or blanks separate the entries. An entry may have a port, a domain may begin with a dot, and an IPv6 address
    may stand in brackets: all forms that curl, Go or Python's requests accept.
    """
    parts = urlsplit(base_url)
    host, port = (parts.hostname or "").removesuffix("."), parts.port or 443
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        address = None
    for entry in listed.replace(",", " ").lower().split():
        if entry == "*":
            return True
        name, entry_port = _split(entry)
        if entry_port not in (None, str(port)):
            continue
        if address is None:
            domain = name.removeprefix("*").removeprefix(".").removesuffix(".")
            if domain and (host == domain or host.endswith(f".{domain}")):
                return True
            continue
        try:
            if address in ipaddress.ip_network(name, strict=False):
                return True
        except ValueError:
            pass
    return False


def _split(entry: str) -> tuple[str, str | None]:
    """The host or network of an entry, and its port; `None` if it has none."""
    if entry.startswith("["):
        host, _, rest = entry[1:].partition("]")
        return (host + rest, None) if rest.startswith("/") else (host, rest.removeprefix(":") or None)
    host, colon, port = entry.partition(":")
    return (host, port or None) if colon and ":" not in port else (entry, None)


def tls_context() -> ssl.SSLContext:
    """The TLS context of connections: it trusts the system's authorities, or those of `SSL_CERT_FILE`.

    It takes 20 ms, so create it once. A missing file raises nothing here; the error of an untrusted certificate will
    name it.
    """
    return ssl.create_default_context()


def socket_options(base_url: str, route: Route) -> dict[str, Any]:
    """The options of `websockets` for this way: the proxy, and TLS to the service and to the proxy."""
    if not is_encrypted(base_url):
        return {"proxy": route.proxy}
    context = tls_context()
    options = {"proxy": route.proxy, "ssl": context}
    return {**options, "proxy_ssl": context} if is_encrypted(route.proxy or "") else options


def certificate_trouble(environment: Mapping[str, str] = os.environ) -> str | None:
    """What is wrong with the variables that name certificates, or with the system's; `None` if all is well."""
    if file := environment.get("SSL_CERT_FILE"):
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=file)
        except ssl.SSLError:
            return f"SSL_CERT_FILE names {quote(file, 200)}, which holds no certificate in PEM form"
        except OSError as error:
            return f"SSL_CERT_FILE names {quote(file, 200)}, which cannot be read ({error.strerror})"
    if (folder := environment.get("SSL_CERT_DIR")) and not any(map(os.path.isdir, folder.split(os.pathsep))):
        return f"SSL_CERT_DIR names {quote(folder, 200)}, which is no folder"
    paths = ssl.get_default_verify_paths()
    if os.name != "nt" and not paths.cafile and not (paths.capath and os.listdir(paths.capath)):
        return (
            "this machine has no certificates of authorities; install them (the package is often named"
            " ca-certificates), or name a PEM file with SSL_CERT_FILE"
        )
    return None
