"""I/O with an EVI-compatible service: the control-plane socket and a few REST calls.

`transport` is the seam: `websocket` implements it for the network, `memory` for tests and embedding.
"""
