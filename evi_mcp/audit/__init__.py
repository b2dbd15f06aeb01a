"""The audit log: what was sent to which chat, when, by whom and with what outcome, in a file that shows tampering.

One JSON object a line, appended and never changed. `records.py` has the chain of hashes, `file.py` the file, `log.py`
what the rest of the server records through, `verify.py` the check. `docs/audit.md` describes the records.
"""
