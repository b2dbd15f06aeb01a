#!/bin/sh
# Builds the source archive and the wheel of a release into dist/, and shows that the wheel works by itself: installed
# into an environment that has nothing else, away from this folder, it supervises a simulated call.
set -eu
cd "$(dirname "$0")/.."

rm -rf dist build .venvs/build .venvs/dist
"${PYTHON:-python3}" -m venv .venvs/build
.venvs/build/bin/pip install --quiet --disable-pip-version-check build
.venvs/build/bin/python -m build --outdir dist .

"${PYTHON:-python3}" -m venv .venvs/dist
.venvs/dist/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt dist/*.whl
command=$PWD/.venvs/dist/bin/evi-mcp
elsewhere=$(mktemp -d)
trap 'rm -rf "$elsewhere"' EXIT
cd "$elsewhere"
"$command" --version
"$command" demo
