#!/bin/sh
# Make .venv (if it is not there) and install one lock file and the checkout into it.
#
#     tools/make_venv.sh LOCKFILE
#
# Everything is pinned with hashes; the build backend is in the lock, so pip fetches nothing else.
set -eu
lock=$1
say() { echo "isthmus: $*"; }

if ! [ -x .venv/bin/python ]; then
    python=$(sh tools/find_python.sh)
    say "making .venv with $("$python" --version)"
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    if ! "$python" -m venv .venv </dev/null >"$log" 2>&1; then
        # Debian and Ubuntu pack the venv module apart from Python.
        if ! sh tools/apt_install.sh python3-venv || ! "$python" -m venv --clear .venv </dev/null; then
            cat "$log" >&2
            say "python -m venv does not work here (on Debian: apt-get install python3-venv)" >&2
            rm -rf .venv
            exit 1
        fi
    fi
fi

pip() { .venv/bin/python -m pip --disable-pip-version-check --quiet "$@" </dev/null; }
count=$(grep -c '^[a-z0-9].*==' "$lock")
say "installing from $lock (up to $count packages, TensorFlow among them: some minutes the first time)"
pip install --require-hashes --no-deps --only-binary :all: -r "$lock"
say "installing the checkout itself (editable)"
pip install --no-deps --no-build-isolation --editable .
say "the set-up is complete: .venv"
