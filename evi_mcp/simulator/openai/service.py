"""The simulated service: `GET /v1/realtime?call_id=` as a WebSocket, and the REST calls of a running call."""

import hmac
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from random import Random
from typing import Any

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from evi_mcp.clock import Clock, SystemClock, timeout
from evi_mcp.hub.server import serving
from evi_mcp.opened import Opened
from evi_mcp.serving import listen
from evi_mcp.simulator.openai.call import RealtimeCall
from evi_mcp.simulator.openai.sidebands import ServedCall
from evi_mcp.simulator.openai.wire import Object
from evi_mcp.simulator.scenario import scenarios

BREAK_S = 5.0
"""Between the end of a scripted call and the next run of its script, at speed 1."""

NOT_FOUND = {
    "error": {
        "message": "No session found for the provided call_id",
        "type": "invalid_request_error",
        "code": "call_id_not_found",
        "param": None,
    }
}
BAD_KEY = {
    "error": {"message": "Incorrect API key provided", "type": "invalid_request_error", "code": "invalid_api_key"}
}


class OpenAISimulator(Opened):
    """A stand-in for OpenAI Realtime on this machine, open as long as its `async with` block.

        async with OpenAISimulator() as service:
            call_id = service.start_call("support")
            print(service.base_url)

    Args:
        host: Where to listen; there is no encryption, so keep it a loopback address.
        port: 0 takes a free one.
        api_key: The key to accept; `None` accepts every key that is not empty.
        speed: How many times faster than life scripted calls are.
        seed: The same one makes the same ids; `None` makes others each time.
        clock: The time; by default that of this machine.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        api_key: str | None = None,
        speed: float = 1.0,
        seed: int | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._host, self._port, self._api_key, self._speed = host, port, api_key, speed
        self._clock = clock or SystemClock()
        self._seed = secrets.randbits(64) if seed is None else seed
        self._calls: dict[str, ServedCall] = {}
        self._count = 0
        self._tasks: TaskGroup | None = None
        self.base_url = ""
        self.referred: dict[str, str] = {}
        """By call id, where it was transferred to."""
        self.refuse_rest: dict[str, int] = {}
        """By call id, the status with which REST answers whatever is asked of it."""
        self.refuse: dict[str, list[tuple[int, Mapping[str, str]]]] = {}
        """By call id, the statuses and headers with which the next handshakes are answered."""
        self.received: list[Object] = []
        """Every client event, the newest 1000."""
        self.handshakes: list[Mapping[str, str]] = []
        """The headers of the newest 1000 handshakes."""
        self.on_started: Callable[[str], Any] | None = None
        """Called with the id of each call that starts, as a webhook would be."""

    def start_call(self, script: str | None = "support", call_id: str | None = None, **options: Any) -> str:
        """Starts a call; returns its id.

        Args:
            script: The name of a script; `None` for a call in which nobody speaks.
            call_id: `None` makes one up.
            options: As for `RealtimeCall`.
        """
        chance = Random(f"{self._seed}/{self._count}")
        self._count += 1
        call_id = call_id or f"rtc_u1_{chance.getrandbits(128):032x}"
        served = ServedCall()
        served.call = RealtimeCall(
            scenarios()[script] if script else None,
            chance,
            served.push,
            **{"now": self._clock.elapsed(), "speed": self._speed, **options},
        )
        self._calls[call_id] = served
        assert self._tasks is not None, "the simulator is not open"
        self._tasks.start_soon(self._run, call_id, served)
        if self.on_started is not None:
            self.on_started(call_id)
        return call_id

    async def repeat(self, script: str) -> None:
        """Plays a script again and again, each time as another call."""
        while True:
            served = self._calls[self.start_call(script)]
            while served.call.ending is None:
                await served.changed.wait()
            with timeout(self._clock, BREAK_S / self._speed):
                await anyio.sleep_forever()

    @property
    def running(self) -> tuple[str, ...]:
        """The ids of the calls that go on."""
        return tuple(self._calls)

    def call(self, call_id: str) -> RealtimeCall:
        """A call that goes on."""
        return self._calls[call_id].call

    def sockets(self, call_id: str) -> int:
        """How many sidebands a call has."""
        return len(self._calls[call_id].sockets)

    def wake(self, call_id: str) -> None:
        """Something was done to a call from outside."""
        self._calls[call_id].wake()

    def cut(self, call_id: str, code: int = 1011) -> None:
        """Closes the sidebands of a call, which goes on."""
        self._calls[call_id].cut(code)

    def cut_after(self, call_id: str, gaps: Iterator[int]) -> None:
        """Does so after so many events, and again, for as long as there are gaps."""
        self._calls[call_id].cut_after(gaps)

    def push(self, call_id: str, event: Object) -> None:
        """Sends any event on all sidebands of a call, also one that the service would not."""
        self._calls[call_id].push(event)

    async def _open(self, stack: AsyncExitStack) -> None:
        listener = listen(self._host, self._port)
        routes = [
            WebSocketRoute("/v1/realtime", self._sideband),
            Route("/v1/realtime/calls/{call_id}/{verb}", self._rest, methods=["POST"]),
        ]
        self._tasks = await stack.enter_async_context(anyio.create_task_group())
        stack.callback(self._tasks.cancel_scope.cancel)
        await stack.enter_async_context(serving(Starlette(routes=routes), listener, before_stop=self._stop))
        self.base_url = f"http://{self._host}:{listener.getsockname()[1]}/v1"

    async def _stop(self) -> None:
        for call_id in self._calls:
            self.cut(call_id, 1001)
        await anyio.lowlevel.checkpoint()

    async def _run(self, call_id: str, served: ServedCall) -> None:
        """Plays a call, each thing when it is due, until it ends."""
        while served.call.ending is None:
            served.call.advance(self._clock.elapsed())
            due, changed = served.call.next_due(), served.changed
            if served.call.ending is None:
                if due is None:
                    await changed.wait()
                else:
                    with self._clock.timeout_at(due):
                        await changed.wait()
        del self._calls[call_id]
        served.end()

    def _may_pass(self, connection: HTTPConnection) -> bool:
        scheme, _, shown = connection.headers.get("authorization", "").partition(" ")
        shown = shown if scheme.lower() == "bearer" else connection.headers.get("api-key", "")
        return bool(shown) and (self._api_key is None or hmac.compare_digest(shown, self._api_key))

    async def _sideband(self, websocket: WebSocket) -> None:
        self.handshakes = [*self.handshakes[-999:], dict(websocket.headers)]
        call_id = websocket.query_params.get("call_id", "")
        answer: Response | None = None
        if refusals := self.refuse.get(call_id):
            status, headers = refusals.pop(0)
            answer = JSONResponse({"error": {"message": "refused"}}, status, dict(headers))
        elif not self._may_pass(websocket):
            answer = JSONResponse(BAD_KEY, 401)
        elif call_id not in self._calls:
            answer = JSONResponse(NOT_FOUND, 404)
        if answer is not None:
            await answer(websocket.scope, websocket.receive, websocket.send)
            return
        await self._calls[call_id].serve(websocket, self._take)

    def _take(self, served: ServedCall, event: Object) -> Object | None:
        """A client event; the error that answers it, if one does."""
        self.received = [*self.received[-999:], event]
        return served.call.take(event, self._clock.elapsed())

    async def _rest(self, request: Request) -> Response:
        call_id, verb = request.path_params["call_id"], request.path_params["verb"]
        if not self._may_pass(request):
            return JSONResponse(BAD_KEY, 401)
        served = self._calls.get(call_id)
        if served is None:
            return JSONResponse(NOT_FOUND, 404)
        if call_id in self.refuse_rest:
            return JSONResponse({"error": {"message": "try again"}}, self.refuse_rest[call_id])
        if verb == "hangup":
            served.call.hang_up()
        elif verb == "refer":
            self.referred[call_id] = (await request.json())["target_uri"]
            served.call.hang_up("transferred")
        else:
            return JSONResponse({"error": {"message": "unknown"}}, 404)
        served.wake()
        return Response(status_code=200)
