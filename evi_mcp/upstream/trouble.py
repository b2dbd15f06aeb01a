"""Says in words why a connection failed. The words come from the system and from TLS, never from the other side.

The text of a library's error may repeat the request, and with it the key; the texts of the system and OpenSSL do not.
"""

import errno
import os
import re
import socket
import ssl
from collections.abc import Iterator

from evi_mcp.upstream.environment import certificate_trouble

TOO_MANY_FILES = "too many open files: raise the limit (ulimit -n) or lower EVI_MCP_MAX_CHATS"

# OpenSSL's X509_V_ERR_*: unable to get (local) issuer, self-signed (in chain), unable to verify the first certificate.
_UNKNOWN_ISSUER = frozenset({2, 18, 19, 20, 21})
_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"})
_ERRNO = re.compile(r"\[Errno (\d+)\]")  # if it tried several addresses, asyncio joins the errors into one text


def why(error: BaseException) -> str | None:
    """The cause of a failed connection, as a part of a sentence; `None` if neither the system nor TLS says one."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _of_certificate(cause)
        if isinstance(cause, ssl.SSLError):
            return _of_tls(cause)
    said = [text for cause in causes if isinstance(cause, OSError) and (text := _of_system(cause))]
    return TOO_MANY_FILES if TOO_MANY_FILES in said else next(iter(said), None)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and its causes, outermost first."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        if isinstance(cause, BaseExceptionGroup):
            for inner in cause.exceptions:
                yield from _causes(inner)
        cause = cause.__cause__ or cause.__context__


def _of_certificate(error: ssl.SSLCertVerificationError) -> str:
    said = f"its TLS certificate is not valid: {error.verify_message}"
    if error.verify_code not in _UNKNOWN_ISSUER:
        return said
    return f"{said}; {certificate_trouble() or 'name a PEM file of the authority with SSL_CERT_FILE to trust it'}"


def _of_tls(error: ssl.SSLError) -> str:
    if error.reason in _NO_TLS:
        return "what answers there does not speak TLS; is it http?"
    return f"TLS failed: {error.reason.replace('_', ' ').lower()}" if error.reason else "TLS failed"


def _of_system(error: OSError) -> str | None:
    if isinstance(error, socket.gaierror):
        # Name resolution also fails if no file can be opened, and does not say so.
        return TOO_MANY_FILES if _no_file_is_left() else f"its name is not known: {error.strerror or 'no address'}"
    number = error.errno
    if number is None and (found := _ERRNO.search(str(error))):
        number = int(found[1])
    if number in (errno.EMFILE, errno.ENFILE):
        return TOO_MANY_FILES
    return os.strerror(number).lower() if number else None


def _no_file_is_left() -> bool:
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        return True
    return False
