"""Input that nobody would write by hand, at every door of the server.

`script` is what a fuzzer feeds and what must hold, `mutate` makes new input of old, `__main__` is the run that follows
coverage (`make fuzz`). What it has found is kept in `found/`, and tried by every run of the tests.
"""
