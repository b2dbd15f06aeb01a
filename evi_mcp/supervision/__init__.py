"""Who follows which chat: one connection for each chat, however many agents look at it.

`live_chat` is one chat with its socket, `following` the task that follows it, `registry` holds all of them,
`desk` acts for one caller, `feed` gives events to readers, and `waiting` lets them sleep until something happens.
"""
