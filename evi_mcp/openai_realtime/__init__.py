"""Calls of OpenAI Realtime, and of services with the same wire, as chats of the hub.

A call that runs over WebRTC or SIP takes a second WebSocket, the sideband, by its call id. The adapter holds it and is
to the hub what a bot is: it publishes EVI's messages and takes EVI's commands. Translation is code without I/O and
without a clock: `reading` (what an event holds), `timeline` (everything where it belongs), `heard` (the conversation),
`floor` (whose turn it is to speak), `commands`, `settings`, `pausing`, `repair` (after a cut). `sideband`, `rest`,
`adapter` and `calls` carry it.

Facts: the types of the `openai` SDK 3.57, OpenAI's guides "Server-side controls" and "Realtime conversations", and
openai-openapi of 2026-08. Nothing here was tried against the live service; docs/services.md says what follows.
"""

SOURCE = "openai_realtime"
"""What the hub's `source` says of such chats."""
