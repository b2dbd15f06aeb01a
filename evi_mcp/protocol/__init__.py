"""What EVI says on a control-plane connection, and what a client may say to it. No I/O in here.

`messages` are the frames that arrive, and `codec` decodes them; `commands` are the frames that leave. `identity`,
`history`, `replay` and `catching_up` tell a replayed event from a new one, and `lifecycle` owns the states of a chat.
Sources of the facts: Hume's AsyncAPI and OpenAPI references of `/v0/evi/chat/{chat_id}/connect` and `/send`, and its
guides; where they are silent, the docstring says so.
"""
