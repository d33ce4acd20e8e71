#!/bin/sh
# Install system packages where that can be done without a question: apt-get, as root or by sudo -n.
#
#     tools/apt_install.sh PACKAGE...
#
# Exit 1, with the reason, where it cannot.
set -u
[ $# -gt 0 ] || exit 0
if ! command -v apt-get >/dev/null 2>&1; then
    echo "isthmus: cannot install $*: this system has no apt-get" >&2
    exit 1
fi
if [ "$(id -u)" = 0 ]; then
    as_root=
elif command -v sudo >/dev/null 2>&1 && sudo -n true >/dev/null 2>&1; then
    as_root="sudo -n"
else
    echo "isthmus: cannot install $*: neither root nor sudo without a password" >&2
    exit 1
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
echo "isthmus: apt-get install $*"
install() {
    # shellcheck disable=SC2086
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 "$@" \
        </dev/null >>"$log" 2>&1
}
# An old or absent package list is the usual reason for a failure: renew it first; a mirror that
# does not answer matters only if the installation then fails.
install update || echo "isthmus: apt-get update failed, going on with the list that is there" >&2
if ! install install -y --no-install-recommends "$@"; then
    tail -n 5 "$log" >&2
    exit 1
fi
