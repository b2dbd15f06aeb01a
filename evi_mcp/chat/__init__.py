"""What is known of one chat, without I/O: the log of its events, its turns, its tool calls.

Times and event numbers come from outside. One counter numbers the events of all chats.
"""
