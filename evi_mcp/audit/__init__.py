"""The audit log: what was sent to which chat, when, by whom and with what outcome, in a file that shows tampering.

The file holds one JSON object a line; lines are appended and never changed. `records.py` chains the hashes, `file.py`
writes the file, `log.py` is the journal that the server uses, `verify.py` checks a file. `docs/audit.md` describes the
records.
"""
