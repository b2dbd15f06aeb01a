"""The command line: serve, watch, simulate, demo, doctor, audit; and the terminal that a person looks at."""
