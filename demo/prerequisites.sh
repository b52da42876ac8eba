#!/bin/sh
# Says what is missing on this machine and how to get it; with `python` it prints the interpreter,
# with `node` it looks for what builds the live page.
#
# Interpreters are tried by running them: a name on PATH may be a shim of a version manager that
# has no such version behind it.

probe='
import sys
import ensurepip, ssl, sqlite3, venv
sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))
'

find_python() {
    for candidate in "$PYTHON" python3.12 python3.11 python3.10 python3 python \
        "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.12.*/bin/python \
        "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.11.*/bin/python \
        "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.10.*/bin/python \
        /usr/bin/python3 /usr/local/bin/python3 /opt/homebrew/bin/python3; do
        if [ -n "$candidate" ] && "$candidate" -c "$probe" >/dev/null 2>&1; then
            command -v "$candidate"
            return 0
        fi
    done
    return 1
}

if [ "$1" = python ]; then
    find_python
    exit
fi

missing=0
lack() {
    echo "missing: $1" >&2
    echo "    $2" >&2
    missing=1
}

if [ "$1" = node ]; then
    node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 18 || (a == 18 && b >= 18) ? 0 : 1)' \
        >/dev/null 2>&1 || lack "Node 18.18 or newer" "Debian 12, Ubuntu 24.04: apt-get install nodejs npm"
    npm --version >/dev/null 2>&1 || lack "npm" "Debian, Ubuntu: apt-get install npm"
    exit $missing
fi

find_python >/dev/null || lack "Python 3.10, 3.11 or 3.12 with venv" \
    "Debian, Ubuntu: apt-get install python3 python3-venv; or set PYTHON=/path/to/python3.12"
cargo --version >/dev/null 2>&1 || lack "Rust (cargo)" \
    "install it with rustup, see rust-lang.org; then open a new shell"
cc --version >/dev/null 2>&1 || lack "a C compiler (cc)" \
    "Debian, Ubuntu: apt-get install build-essential; macOS: xcode-select --install"
exit $missing
