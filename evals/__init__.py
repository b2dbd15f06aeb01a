"""Plays simulated calls with a model as the supervisor, and scores what comes of it: `python -m evals`.

No part of the package. The model is behind any endpoint that speaks OpenAI's chat completions; the server is a real
`evi-mcp serve --simulate` over stdio. docs/evals.md says how it scores.
"""
