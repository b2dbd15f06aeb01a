"""Silencing EVI and letting it speak again, by itself if need be."""

import time
from dataclasses import replace

import anyio

from evi_mcp.access.callers import AUTO_RESUME
from evi_mcp.errors import MaybeSent, NotSent
from evi_mcp.protocol.commands import PauseAssistantMessage, ResumeAssistantMessage
from evi_mcp.supervision.live_chat import LiveChat, Receipt
from evi_mcp.supervision.registry import ChatRegistry

DEAD_MAN = "the timer of pause"


async def pause(registry: ChatRegistry, chat: LiveChat, *, by: str, resume_after_s: float) -> Receipt:
    """Silences EVI, and sees to it that it speaks again after `resume_after_s` seconds (0: not by itself).

    Raises:
        NotSent, MaybeSent: As `LiveChat.send`. After `MaybeSent` the timer runs all the same.
    """
    # Together with the write, so that whatever comes in between finds the pause and its timer in place.
    receipt = await chat.send(
        PauseAssistantMessage(),
        by=by,
        guard=lambda: _note_pause(registry, chat, resume_after_s),
        terms={"resume_after_s": resume_after_s},
    )
    return replace(receipt, resumes_at=chat.record.resumes_at)


async def resume(registry: ChatRegistry, chat: LiveChat, *, by: str) -> Receipt:
    """Lets EVI speak again.

    Raises:
        NotSent, MaybeSent: As `LiveChat.send`. After them the timer of the pause goes on.
    """
    was_paused, left = False, 0.0

    def note() -> None:
        nonlocal was_paused, left
        was_paused = chat.record.paused
        if chat.record.resumes_at is not None:
            left = max(1.0, chat.record.resumes_at - time.time())
        _note_resume(chat)

    try:
        return await chat.send(ResumeAssistantMessage(), by=by, guard=note)
    except MaybeSent:
        if was_paused and not chat.record.paused:
            _note_pause(registry, chat, left)
        raise


def _note_pause(registry: ChatRegistry, chat: LiveChat, resume_after_s: float) -> None:
    _note_resume(chat)
    chat.record.paused = True
    if resume_after_s > 0:
        chat.record.resumes_at = time.time() + resume_after_s
        chat.dead_man = anyio.CancelScope()
        registry.start(_resume_later, chat, chat.dead_man, resume_after_s)


def _note_resume(chat: LiveChat) -> None:
    chat.call_off_dead_man()
    chat.record.paused = False


async def _resume_later(chat: LiveChat, scope: anyio.CancelScope, after_s: float) -> None:
    """The dead-man timer. It tries until a resume is written for sure: a second one does no harm, none at all does."""

    def still_mine() -> None:
        if chat.dead_man is not scope:
            raise NotSent("resume_assistant_message", "the pause it was meant to end is over")

    with scope:
        await anyio.sleep(after_s)
        while not chat.over and chat.dead_man is scope:
            try:
                await chat.send(
                    ResumeAssistantMessage(), by=DEAD_MAN, guard=still_mine, pre_authorised=True, caller=AUTO_RESUME
                )
            except (NotSent, MaybeSent):
                await anyio.sleep(0.1)
                continue
            if chat.dead_man is scope:
                chat.dead_man = None
                chat.record.paused, chat.record.resumes_at = False, None


def warn_if_paused(chat: LiveChat, receipt: Receipt) -> Receipt:
    """The receipt, with a warning if this server has paused the chat, so that nothing may come of the command."""
    if not chat.record.paused:
        return receipt
    return replace(
        receipt, warning="this server has paused the chat: EVI answers nobody and uses no tools until resume"
    )
