#!/bin/sh
# Resolve the dependencies of pyproject.toml into requirements/*.lock: pinned, with hashes, one
# file for all platforms and for Python 3.11 to 3.13. Pre-releases only where one is named.
set -eu
tools=build/lock
if ! [ -x "$tools/bin/uv" ]; then
    python=$(sh tools/find_python.sh)
    "$python" -m venv "$tools"
    "$tools/bin/python" -m pip --disable-pip-version-check --quiet install uv
fi
resolve() {
    output=$1
    shift
    "$tools/bin/uv" pip compile --quiet --universal --python-version 3.11 \
        --fork-strategy fewest --prerelease if-necessary-or-explicit \
        --generate-hashes --annotation-style split --custom-compile-command "make lock" \
        ${UPGRADE:+--upgrade} --output-file "$output" "$@" requirements/build.in pyproject.toml
}
resolve requirements/dev.lock --extra dev --constraint requirements/constraints.in
# The demo's packages are some of the tests' packages, at the same versions.
resolve requirements/demo.lock --extra generate --extra serve --constraint requirements/dev.lock
