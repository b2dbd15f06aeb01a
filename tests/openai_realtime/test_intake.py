"""How calls become known: announced on the hub, or by the service's webhook."""

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import httpx
import pytest
from openai import InvalidWebhookSignatureError, OpenAI
from pydantic import SecretStr

from evi_mcp.hub import Hub
from evi_mcp.openai_realtime.calls import RealtimeCalls
from evi_mcp.openai_realtime.endpoints import Endpoint
from evi_mcp.openai_realtime.intake import MAX_BODY_BYTES, add_intake
from evi_mcp.openai_realtime.webhooks import TOLERANCE_S, BadSignature, check_signature
from evi_mcp.simulator.openai import OpenAISimulator
from tests.hub.wire import HEADERS, eventually
from tests.hub.wire import KEY as HUB_KEY
from tests.openai_realtime.rig import KEY

pytestmark = pytest.mark.anyio
SECRET = "whsec_" + base64.b64encode(b"a secret of some length").decode()


def signed(body: bytes, at: int, secret: str = SECRET) -> dict[str, str]:
    """The headers of a webhook, made by hand from the standard."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    mac = hmac.new(key, b"msg_1.%d." % at + body, hashlib.sha256).digest()
    signature = f"v1,{base64.b64encode(mac).decode()}"
    return {"webhook-id": "msg_1", "webhook-timestamp": str(at), "webhook-signature": f"v1,AAAA {signature}"}


@asynccontextmanager
async def intake(secret: str | None = SECRET) -> AsyncIterator[tuple[OpenAISimulator, Hub]]:
    with anyio.fail_after(20):
        async with OpenAISimulator(api_key=KEY) as service:
            hub = Hub("127.0.0.1", keys=[HUB_KEY])
            calls = RealtimeCalls(hub, Endpoint(SecretStr(KEY), service.base_url))
            add_intake(hub, calls, SecretStr(secret) if secret else None)
            async with hub, calls:
                yield service, hub


async def post(hub: Hub, path: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
    async with httpx.AsyncClient(base_url=hub.base_url or "", trust_env=False) as client:
        return await client.post(path, content=body, headers=headers)


async def test_a_call_is_announced_on_the_hub() -> None:
    """The application has the id from the `Location` of its call, and hands it on."""
    async with intake() as (service, hub):
        call_id = service.start_call(None)
        body = json.dumps({"call_id": call_id}).encode()
        assert (await post(hub, "/v0/evi/chats", body, {})).status_code == 401
        answer = await post(hub, "/v0/evi/chats", body, HEADERS)
        assert (answer.status_code, answer.json()) == (202, {"chat_id": call_id})
        await eventually(lambda: hub.chats.live(call_id) is not None)
        assert (await post(hub, "/v0/evi/chats", body, HEADERS)).status_code == 202, "twice is the same as once"
        async with httpx.AsyncClient(base_url=hub.base_url or "", headers=HEADERS, trust_env=False) as client:
            assert call_id in (await client.get("/v0/evi/chats")).text, "what was there before still is"


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"call_id": 5}', b'{"call_id": "../x"}', b'{"call_id": "a", "x": 1}']
)
async def test_an_announcement_that_names_no_call_is_refused(body: bytes) -> None:
    """Nothing of it reaches an address."""
    async with intake() as (service, hub):
        assert (await post(hub, "/v0/evi/chats", body, HEADERS)).status_code == 422
        assert not service.handshakes


async def test_an_incoming_call_is_announced_by_the_webhook() -> None:
    """Its signature is its key: the hub's is not known to the service."""
    async with intake() as (service, hub):
        call_id = service.start_call(None)
        event = {"type": "realtime.call.incoming", "data": {"call_id": call_id, "sip_headers": []}}
        body = json.dumps(event).encode()
        now = int(hub.clock.now())
        assert (await post(hub, "/webhooks/openai", body, signed(body, now))).status_code == 204
        await eventually(lambda: hub.chats.live(call_id) is not None)


async def test_a_webhook_of_somebody_else_is_refused() -> None:
    """Anybody can reach the address."""
    async with intake() as (service, hub):
        body = b'{"type": "realtime.call.incoming", "data": {"call_id": "rtc_1"}}'
        now = int(hub.clock.now())
        other = "whsec_" + base64.b64encode(b"somebody else").decode()
        for headers in (
            {},
            signed(body, now, other),
            signed(b"another body", now),
            signed(body, now - TOLERANCE_S - 5),
            {**signed(body, now), "webhook-timestamp": "x"},
            {**signed(body, now), "webhook-signature": "v1,"},
        ):
            assert (await post(hub, "/webhooks/openai", body, headers)).status_code == 401
        large = b" " * (MAX_BODY_BYTES + 1)
        assert (await post(hub, "/webhooks/openai", large, signed(large, now))).status_code == 413
        assert not service.handshakes


async def test_without_a_secret_no_webhook_is_taken() -> None:
    """An address that believes everybody is none."""
    async with intake(None) as (_, hub):
        assert (await post(hub, "/webhooks/openai", b"{}", {})).status_code == 404


def test_the_official_library_agrees_on_what_is_signed() -> None:
    """Ours and OpenAI's own check take and refuse the same."""
    client = OpenAI(api_key="x", webhook_secret=SECRET)
    body = '{"type": "realtime.call.incoming"}'
    import time

    now = int(time.time())
    good, bad = signed(body.encode(), now), signed(b"other", now)
    client.webhooks.verify_signature(body, good)
    check_signature(SecretStr(SECRET), good, body.encode(), now)
    with pytest.raises(InvalidWebhookSignatureError):
        client.webhooks.verify_signature(body, bad)
    with pytest.raises(BadSignature):
        check_signature(SecretStr(SECRET), bad, body.encode(), now)
