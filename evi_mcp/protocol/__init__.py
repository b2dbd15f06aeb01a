"""What EVI says on a control-plane connection, and what may be said to it. No I/O in here.

`messages` are the frames that arrive, `commands` the ones that leave, `codec` turns text into the
former and the latter into text. `identity`, `replay` and `catching_up` tell a replayed event from a new one, and
`lifecycle` owns the states of a chat. Sources of the facts: Hume's AsyncAPI and OpenAPI references of
`/v0/evi/chat/{chat_id}/connect` and `/send`, and its guides; where they are silent, the docstring says so.
"""
