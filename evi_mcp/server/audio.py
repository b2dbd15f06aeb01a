"""The audio resource: what EVI said in one message, as one WAV.

It is a template only, since a resource for each message would make the list too long to read.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice

import anyio
import mcp_types as types
from mcp.server import MCPServer
from mcp.server.lowlevel.helper_types import ReadResourceContents
from mcp.server.mcpserver import ResourceSecurity
from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError

from evi_mcp import uris
from evi_mcp.chat.audio import Loss
from evi_mcp.chat.pages import MAX_SCANNED
from evi_mcp.chat.record import ChatRecord
from evi_mcp.errors import ChatNotAllowed, ChatNotAttached, InvalidChatId, NoAudio, UnusableAudio
from evi_mcp.quoting import meant
from evi_mcp.server.callers import Seat, current_desk
from evi_mcp.views.wav import join

NOTES = "evi-mcp/notes"
"""The key in `_meta` of the contents: a list of sentences on what is missing in the WAV. Absent if nothing is."""


class _Wav(bytes):
    """A WAV file and its notes, on the way through the SDK, which has no other place for them."""

    notes: Sequence[str] = ()


def register(server: MCPServer[Seat], most: int) -> None:
    """Registers the template, also when audio is off, so that reading it says so; `most` KiB are kept of a chat."""

    @server.resource(
        uris.AUDIO_TEMPLATE,
        name="chat-audio",
        title="Audio",
        mime_type="audio/wav",
        description="What the assistant said in a message, as far as it has come; `message_id` as in the events.",
        # An id may be any text. It is only looked up, so it need not be safe as a path.
        security=ResourceSecurity(exempt_params={"message_id"}),
    )
    async def audio(chat_id: str, message_id: str) -> bytes:
        try:
            return await _read(most, chat_id, message_id)
        except (InvalidChatId, ChatNotAllowed, ChatNotAttached, NoAudio) as error:
            raise ResourceNotFoundError(str(error)) from error
        except UnusableAudio as error:
            raise ResourceError(str(error)) from error


def listed(most: int, templates: list[types.ResourceTemplate]) -> list[types.ResourceTemplate]:
    """The templates without this one if audio is off."""
    return [template for template in templates if most or template.uri_template != uris.AUDIO_TEMPLATE]


def with_notes(contents: Iterable[ReadResourceContents]) -> list[ReadResourceContents]:
    """The contents of a read, with the notes of a WAV beside it."""
    return [
        replace(item, meta={**(item.meta or {}), NOTES: [*item.content.notes]})
        if isinstance(item.content, _Wav) and item.content.notes
        else item
        for item in contents
    ]


async def _read(most: int, chat_id: str, message_id: str) -> bytes:
    record = current_desk().chat(chat_id).record
    message_id = meant(message_id, record.audio)
    chunks = record.audio.chunks(message_id)
    if chunks is None:
        raise NoAudio(chat_id, message_id, _why_none(record, message_id, most))
    joined = await anyio.to_thread.run_sync(join, chunks)  # of a long message it takes its time
    wav = _Wav(joined.wav)
    wav.notes = joined.notes
    return wav


def _why_none(record: ChatRecord, message_id: str, most: int) -> str:
    if not most:
        return "audio is off (EVI_MCP_AUDIO_KIB=0), which only whoever configures the server can change"
    loss = record.audio.loss(message_id)
    if loss is Loss.TOO_LONG:
        return (
            f"it is longer than the {most} KiB that are kept of a chat (EVI_MCP_AUDIO_KIB),"
            " which only whoever configures the server can change"
        )
    known = [event for event in islice(reversed(record.log), MAX_SCANNED) if event.message_id == message_id]
    if loss is Loss.DROPPED or any(event.type == "audio_output" for event in known):
        return (
            f"it was dropped, since only the newest {most} KiB of a chat are kept (EVI_MCP_AUDIO_KIB);"
            " read the audio of a message soon after it was spoken"
        )
    if not known:
        return "no message of this id is known; take the `message_id` of an assistant_message from read_events"
    if record.over:
        return "none came before the chat was over"
    if known[-1].replayed:
        return "the message came with the history, and its audio did not"
    return "none has come so far; if the message is still to be spoken, read it again a little later"
