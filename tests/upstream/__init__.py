"""Sockets and REST towards a service that misbehaves, and the way there."""
