"""Whether a webhook is the service's: Standard Webhooks (standardwebhooks.com), which OpenAI signs with.

What is signed is `{webhook-id}.{webhook-timestamp}.{body}`, with HMAC-SHA256; the secret is `whsec_` and base64.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping

from pydantic import SecretStr

TOLERANCE_S = 300
"""How old a webhook may be, or ahead of this machine's clock, in seconds: as the standard's libraries have it."""


class BadSignature(Exception):
    """A webhook that is not the service's, or too old; the text says why."""


def check_signature(secret: SecretStr, headers: Mapping[str, str], body: bytes, now: float) -> None:
    """Returns if the webhook is the service's.

    Args:
        secret: As the service shows it.
        headers: With names in lower case.
        body: As it came.
        now: Unix seconds.

    Raises:
        BadSignature: It is not.
    """
    id_, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not id_ or not (stamp.isascii() and stamp.isdigit() and len(stamp) < 16):
        raise BadSignature("it needs the headers webhook-id, webhook-timestamp and webhook-signature")
    if abs(now - int(stamp)) > TOLERANCE_S:
        raise BadSignature(f"its time differs from this machine's by more than {TOLERANCE_S} s")
    signed = f"{id_}.{stamp}.".encode("utf-8", "surrogateescape") + body
    wanted = base64.b64encode(hmac.digest(key_of(secret), signed, hashlib.sha256))
    shown = headers.get("webhook-signature", "").split()
    given = (one.removeprefix("v1,").encode("utf-8", "replace") for one in shown if one.startswith("v1,"))
    if not sum(hmac.compare_digest(wanted, one) for one in given):
        raise BadSignature("its signature is not made with OPENAI_WEBHOOK_SECRET")


def key_of(secret: SecretStr) -> bytes:
    """The key in a secret; one that is not base64 is taken as it is."""
    text = secret.get_secret_value()
    try:
        return base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        return text.encode()
