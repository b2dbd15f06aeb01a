"""A LiveKit agent that can be supervised, without an account: LLM, ears and voice are scripted, the caller types.

    pip install livekit-agents evi-mcp
    evi-mcp hub                                             # or: evi-mcp serve --hub 127.0.0.1:8770
    python examples/typed_caller.py examples/livekit_bot.py # you, on the phone; it starts this agent

For an agent of your own only the line with `supervise` matters. The line marked SERVICE is where real services go, for
example `AgentSession(stt="deepgram/nova-3", llm="openai/gpt-4.1-mini", tts="cartesia/sonic-3")`; with them,
`python livekit_bot.py dev` serves rooms of your LiveKit project. EVI_HUB, EVI_HUB_KEY and EVI_CHAT_ID say where the hub
is.
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from livekit import rtc
from livekit.agents import Agent, AgentServer, AgentSession, JobContext, cli, function_tool, llm, stt, tts
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, NOT_GIVEN

sys.path.insert(0, str(Path(__file__).parent))

from letters import Reader, sound_of

from evi_mcp.link.livekit import supervise

RATE = 24_000
SENTENCE_PAUSE_S = 0.15

server = AgentServer()


@server.rtc_session()  # type: ignore[untyped-decorator]  # where LiveKit is not installed, it has no types
async def entrypoint(job: JobContext) -> None:
    session: AgentSession[None] = AgentSession(
        **{"llm": ScriptedLLM(), "stt": LetterEar(), "tts": LetterVoice(), "vad": None},  # SERVICE
        turn_handling={"turn_detection": "stt", "endpointing": {"min_delay": 0.1, "max_delay": 0.5}},
        user_away_timeout=None,
        aec_warmup_duration=None,
    )

    # The one line that a supervised agent needs. `refund` is answered by whoever supervises the call.
    supervise(
        session,
        hub=os.environ.get("EVI_HUB", "http://127.0.0.1:8770"),
        key=os.environ.get("EVI_HUB_KEY"),
        chat_id=os.environ.get("EVI_CHAT_ID"),
        supervised_tools=["refund"],
        tool_timeout_s=float(os.environ.get("EVI_TOOL_TIMEOUT", "45")),
        tool_fallback="Say that a colleague will call back.",
        tools_outlast_interruptions="EVI_OUTLAST" in os.environ,
    )

    await session.start(Desk(), room=job.room)


class Desk(Agent):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__(instructions="You are a parcel desk.")

    @function_tool  # type: ignore[untyped-decorator]
    async def parcel_status(self, number: str) -> str:
        """Where a parcel is."""
        await asyncio.sleep(0.1)
        return json.dumps({"place": "Lyon"})

    @function_tool  # type: ignore[untyped-decorator]
    async def refund(self, amount: float) -> str:
        """Asks for a refund."""
        raise NotImplementedError("a supervisor answers")


class ScriptedLLM(llm.LLM):  # type: ignore[misc]
    """Says what it was told, so that one can see what it was told."""

    def chat(
        self, *, chat_ctx: Any, tools: Any = None, conn_options: Any = DEFAULT_API_CONNECT_OPTIONS, **_: Any
    ) -> Any:
        return ScriptedStream(self, chat_ctx=chat_ctx, tools=tools or [], conn_options=conn_options)


class ScriptedStream(llm.LLMStream):  # type: ignore[misc]
    calls = 0

    async def _run(self) -> None:
        items = [item for item in self._chat_ctx.items if item.type in ("message", "function_call_output")]
        last = next(item for item in reversed(items) if item.type != "message" or item.role == "user")
        said = (last.text_content or "") if last.type == "message" else ""
        for name, arguments in {"parcel": {"number": "LY-1"}, "refund": {"amount": 20}, "lookup": {}}.items():
            if name in said.split() and (tool := self._tool(name)):
                print("thinking", flush=True)
                await asyncio.sleep(float(os.environ.get("EVI_THINK", "0")))
                ScriptedStream.calls += 1
                call = llm.FunctionToolCall(
                    name=tool, arguments=json.dumps(arguments), call_id=f"call_{ScriptedStream.calls}"
                )
                self._send(llm.ChoiceDelta(role="assistant", tool_calls=[call]))
                return
        for word in self._answer(last, said, items).split():
            self._send(llm.ChoiceDelta(role="assistant", content=f"{word} "))
            await asyncio.sleep(0.005)

    def _send(self, delta: Any) -> None:
        self._event_ch.send_nowait(llm.ChatChunk(id="chunk", delta=delta))

    def _tool(self, prefix: str) -> str | None:
        return next((tool.id for tool in self._tools if tool.id.startswith(prefix)), None)

    def _answer(self, last: Any, said: str, items: list[Any]) -> str:
        if last.type == "function_call_output":
            place = json.loads(last.output)["place"] if last.output.startswith("{") else None
            return f"It is in {place}." if place else f"I hear: {last.output}"
        system = [item.text_content or "" for item in items if item.type == "message" and item.role == "system"]
        told = [text for text in system if text.startswith("Context:")]
        prompt = next((text for text in system if text not in told), "")
        hints = [f"I was told: {' '.join(told)}."] if told else []
        hints += [f"My orders: {prompt}"] if "parcel desk" not in prompt else []
        return " ".join([f"You said: {said}.", *hints])


class LetterVoice(tts.TTS):  # type: ignore[misc]
    """A voice that needs no model; see `letters.py`."""

    def __init__(self) -> None:
        super().__init__(capabilities=tts.TTSCapabilities(streaming=False), sample_rate=RATE, num_channels=1)

    def synthesize(self, text: str, *, conn_options: Any = DEFAULT_API_CONNECT_OPTIONS) -> Any:
        return LetterStream(tts=self, input_text=text, conn_options=conn_options)


class LetterStream(tts.ChunkedStream):  # type: ignore[misc]
    async def _run(self, output_emitter: Any) -> None:
        output_emitter.initialize(request_id="letters", sample_rate=RATE, num_channels=1, mime_type="audio/pcm")
        output_emitter.push(sound_of(f"{self.input_text} ", RATE))
        output_emitter.flush()


class LetterEar(stt.STT):  # type: ignore[misc]
    """Speech recognition that needs no model."""

    def __init__(self) -> None:
        super().__init__(capabilities=stt.STTCapabilities(streaming=True, interim_results=True))

    async def _recognize_impl(self, buffer: Any, *, language: Any = NOT_GIVEN, conn_options: Any) -> Any:
        raise NotImplementedError("it streams")

    def stream(self, *, language: Any = NOT_GIVEN, conn_options: Any = DEFAULT_API_CONNECT_OPTIONS) -> Any:
        return LetterRecognition(stt=self, conn_options=conn_options, sample_rate=RATE)


class LetterRecognition(stt.RecognizeStream):  # type: ignore[misc]
    async def _run(self) -> None:
        reader, heard = Reader(RATE), ""
        async for frame in self._input_ch:
            if not isinstance(frame, rtc.AudioFrame):
                continue
            letters = reader.read(bytes(frame.data))
            if letters and not heard:
                self._tell(stt.SpeechEventType.START_OF_SPEECH)
            heard += letters
            if " " in letters:
                self._tell(stt.SpeechEventType.INTERIM_TRANSCRIPT, heard)
            if heard and reader.silence > SENTENCE_PAUSE_S:
                self._tell(stt.SpeechEventType.FINAL_TRANSCRIPT, heard)
                self._tell(stt.SpeechEventType.END_OF_SPEECH)
                heard = ""

    def _tell(self, kind: Any, text: str = "") -> None:
        alternatives = [stt.SpeechData(language="en", text=text.strip())] if text else []
        self._event_ch.send_nowait(stt.SpeechEvent(type=kind, alternatives=alternatives))


if __name__ == "__main__":
    cli.run_app(server)
