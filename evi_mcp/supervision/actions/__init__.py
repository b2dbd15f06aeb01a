"""What agents do to a chat: each command with its conditions, and with the event that proves its effect.

What EVI shows of a command is documented for few of them: `user_input` and `assistant_input` come back as
messages with `from_text`; a tool answer is not sent back to its sender, but EVI goes on; whether settings are
shown to their sender is not stated; a pause and a resume leave no trace.
"""
