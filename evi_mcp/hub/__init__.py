"""The hub: EVI's control plane as a service, for chats of any kind.

Bots dial in (`/v0/evi/link`), or their source is in this process (`Hub.open_chat`). Consumers attach as they would to
EVI (`/v0/evi/chat/{chat_id}/connect`), or in memory (`Hub.connector`). What happens is decided by code without I/O:
one chat (`chat`), all chats (`chats`), bots (`links`); `sockets`, `app` and `server` carry it.

Where the contract (sections 8 and 9) leaves something open, the hub decides:

- **Resuming.** A token is good for as long as the hub knows the chat. A bot that resumes with it takes over from
  its own older connection. `received` is at most the bot's `sent`. With a token that the hub does not know (it was
  started anew), the bot gets a new session: another token and `received` 0; it numbers from 1 again. A chat that was
  given up because its bot was away is taken back by the right token; one that was ended by `end` is not.
- **A chat id** that is live belongs to its token. While the bot is away, a `hello` without `resume` for its id ends the
  chat and opens a new one: most likely the bot was started anew.
- **Holes** in the numbers are taken as messages that the bot dropped: one `messages_dropped` says how many. A number
  whose message cannot be read is taken, and counted as a fault; the tenth fault ends the connection with 1008.
- **hello**: `source` is text or an object with a `name`; `metadata` is an object or text.
- **Commands** are validated by the hub. Those that are not EVI's pass if `supports` names them. A link gets at most
  1 MiB. What is not done or refused yet is sent again after a resume, on three connections at most, and what would be
  spoken within 5 s only.
- **Mirrors**: `done` shows tool answers and settings to the other consumers. A bot that shows them itself, before or
  after `done`, does not show them a second time.
- **A chat that is given up** while its bot was paused: the bot gets a `resume_assistant_message` if it comes back.
- **Errors to the sender of a command** have the slugs `command_not_supported`, `command_refused`,
  `command_not_delivered` and `command_outcome_unknown`, and a field `command`.
- **Goodbye** comes before every close of a link from the hub's side: 1008 for what will not heal by itself, 1013 and
  1001 for what will.
"""

from evi_mcp.hub.chats import Limits
from evi_mcp.hub.hub import Hub
from evi_mcp.hub.sources import ChatSource, SourceCommand

__all__ = ["ChatSource", "Hub", "Limits", "SourceCommand"]
