#!/bin/sh
# Makes a virtual environment for foreign voice bots: the newest Pipecat and LiveKit agents, with evi-mcp beside them.
# They are heavy and nothing but tests and examples needs them, so they have a place of their own.
set -eu
venv=$1
python=${PYTHON:-$(dirname "$0")/../.venv/bin/python}

[ -x "$venv/bin/pip" ] || "$python" -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check --upgrade \
    'pipecat-ai[websocket,runner]' livekit-agents --editable "$(dirname "$0")/.."
touch "$venv/.installed"
