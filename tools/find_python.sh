#!/bin/sh
# Print the first Python of 3.11 to 3.13 that can be run: $PYTHON alone if it is set, else by name.
fits='import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'
for name in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    if "$name" -c "$fits" >/dev/null 2>&1; then
        echo "$name"
        exit 0
    fi
done
{
    echo "isthmus: no Python 3.11, 3.12 or 3.13 was found."
    for name in ${PYTHON:-python3}; do
        version=$("$name" --version 2>&1) && echo "isthmus: $name is $version."
    done
    echo "isthmus: install one and name it: make PYTHON=/path/to/python3.12 ..."
} >&2
exit 1
