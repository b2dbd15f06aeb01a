#!/bin/sh
# install_clients.sh FOLDER NAME...
# Makes a virtual environment FOLDER/NAME for foreign MCP clients: what tests/clients/NAME.txt lists. They want other
# versions of what evi-mcp uses, and of each other, so each group has a place of its own.
set -eu
root=$(dirname "$0")/..
folder=$1
shift

for name in "$@"; do
    venv=$folder/$name
    [ -x "$venv/bin/pip" ] || "${PYTHON:-$root/.venv/bin/python}" -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --retries 1 --timeout 20 \
        --requirement "$root/tests/clients/$name.txt"
done
