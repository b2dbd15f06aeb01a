"""What callers do to a chat: each command with its condition, and with how its effect shows."""
