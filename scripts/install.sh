#!/bin/sh
# install.sh VENV [CONSTRAINTS]
# Makes a virtual environment and installs evi-mcp with its development tools into it, in the versions of
# constraints.txt or of another file.
# Needs Python 3.11 or newer. Where Python came without `venv`, as on Debian, that is installed first.
set -eu
venv=$1
constraints=${2:-constraints.txt}

python=
for candidate in "${PYTHON:-}" python3 python3.11 python3.12 python3.13 python3.14 python; do
    if [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1 &&
        "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    echo "evi-mcp needs Python 3.11 or newer; install it, or set PYTHON to its path." >&2
    exit 1
fi

if [ ! -x "$venv/bin/pip" ] || ! "$venv/bin/python" -c '' 2>/dev/null; then
    rm -rf "$venv"
    if ! "$python" -m venv "$venv" 2>/dev/null; then
        rm -rf "$venv"
        if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
            apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null
            "$python" -m venv "$venv"
        else
            "$python" -m pip install --quiet --user virtualenv
            "$python" -m virtualenv --quiet "$venv"
        fi
    fi
fi
"$venv/bin/pip" install --quiet --disable-pip-version-check --constraint "$constraints" --editable '.[dev]'
"$venv/bin/evi-mcp" --version
