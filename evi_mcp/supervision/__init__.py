"""Who follows which chat: one connection for each chat, however many agents look at it.

`live_chat` is one chat with its socket, `pump` the task that keeps it fed, `registry` the map of all of them,
`waiting` how readers sleep until something happens.
"""
