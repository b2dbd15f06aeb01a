"""I/O with an EVI-compatible service: the control-plane socket and a few REST calls.

`transport` is the seam: `websocket` is the real side of it, `memory` the one for tests and embedding.
"""
