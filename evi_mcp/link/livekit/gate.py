"""What stands before an agent's LLM and its voice: closed while paused, and the place where whispers are added.

The nodes of the agent are wrapped as it becomes active, so that an agent is written as it always was.
"""

import functools
import inspect
import logging
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import contextmanager
from typing import Any

from evi_mcp.link.commands import Context
from evi_mcp.link.whispers import Whisper

_log = logging.getLogger("evi_mcp.link")


class Gate:
    """Stands before every agent of a session.

    While paused no LLM answers, no tool is called and nothing is said but a supervisor's own words; a reply that has
    begun is finished. Transcription goes on, and what is said joins the context.
    """

    def __init__(self, session: Any) -> None:
        self.paused = False
        self._session = session
        self._owed = False
        self._whisper = Whisper()
        self._ours = False
        session.say = functools.partial(self._say, session.say)

    def install(self, agent: Any) -> None:
        """Stands before this agent, once."""
        wrap(agent, "llm_node", self._llm_node)
        wrap(agent, "on_user_turn_completed", self._on_user_turn_completed)

    def pause(self) -> None:
        """Twice is the same as once."""
        self.paused = True

    def resume(self) -> None:
        """Answers what was said last, if there is anything to answer."""
        self.paused = False
        if self._owed:
            self._owed = False
            self._session.generate_reply()

    def whisper(self, context: Context | None) -> None:
        """Takes a context for the LLM; `None` clears it."""
        self._whisper.set(context, _count_users(self._session.current_agent.chat_ctx))

    @contextmanager
    def opened(self) -> Any:
        """Within it `say` speaks although the chat is paused."""
        self._ours = True
        try:
            yield
        finally:
            self._ours = False

    def _say(self, pass_on: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        speech = pass_on(*arguments, **options)
        if self.paused and not self._ours:
            speech.interrupt(force=True)  # before its first sound: a bot's own reminder, for one
        return speech

    async def _llm_node(
        self, pass_on: Callable[..., Any], chat_ctx: Any, tools: Any, model_settings: Any
    ) -> AsyncIterator[Any]:
        if self.paused:
            self._owed = True
            return
        with self._whispered(chat_ctx):
            answer = pass_on(chat_ctx, tools, model_settings)
            if inspect.iscoroutine(answer):
                answer = await answer
            if not isinstance(answer, AsyncIterable):
                if answer is not None:
                    yield answer
                return
            try:
                async for chunk in answer:
                    if self.paused and getattr(getattr(chunk, "delta", None), "tool_calls", None):
                        self._owed = True  # the LLM asks again, with what was said meanwhile
                        continue
                    yield chunk
            finally:
                if (close := getattr(answer, "aclose", None)) is not None:
                    await close()

    async def _on_user_turn_completed(self, pass_on: Callable[..., Any], turn_ctx: Any, new_message: Any) -> None:
        await pass_on(turn_ctx, new_message=new_message)
        if self.paused:
            # An answer that was prepared before the pause is thrown away if the context is another.
            turn_ctx.add_message(role="system", content="The call is paused.")

    @contextmanager
    def _whispered(self, chat_ctx: Any) -> Any:
        """Within it the context of a supervisor stands behind the newest message of the user."""
        added = None
        try:
            if (text := self._whisper.text_for(_count_users(chat_ctx))) is not None:
                added = chat_ctx.add_message(role="system", content=text)
                chat_ctx.items.remove(added)
                chat_ctx.items.insert(_after_newest_user(chat_ctx.items), added)
        except Exception:  # the agent answers all the same
            _log.exception("the context of a supervisor was not added")
        try:
            yield
        finally:
            if added is not None:
                chat_ctx.items[:] = [item for item in chat_ctx.items if item is not added]


def wrap(agent: Any, name: str, gate: Callable[..., Any]) -> None:
    """Calls `gate` in place of a method of this agent, with the method first; does nothing the second time."""
    method = getattr(agent, name)
    if not isinstance(method, functools.partial):
        setattr(agent, name, functools.partial(gate, method))


def _after_newest_user(items: list[Any]) -> int:
    return next((place for place in range(len(items), 0, -1) if _is_users(items[place - 1])), len(items))


def _count_users(chat_ctx: Any) -> int:
    """How many messages of the user there are: a copy for a prepared answer counts like the turn it foresees."""
    return sum(map(_is_users, chat_ctx.items))


def _is_users(item: Any) -> bool:
    return bool(item.type == "message" and item.role == "user")
