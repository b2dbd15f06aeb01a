"""A mutation run: small faults are put into the code one at a time, and what no test notices is listed.

`make mutants` runs it (FILES=, MINUTES=). `inside.py` says what is changed, `survivors.py` how it is told, and
`accepted.toml` which survivors are no gap, and why. The mutating is done by `mutmut`, in a copy of the project.
"""
