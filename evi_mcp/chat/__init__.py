"""What is known of one chat, without I/O: the log of its events, its turns, its tool calls.

Time comes as an argument (Unix seconds), sequence numbers from a counter that all chats of the process share.
"""
