#!/bin/sh
# Install what the tests use beside pip packages, skip what is there, and name what is missing.
#
#     tools/system_tools.sh
#
# With ISTHMUS_REQUIRE_TOOLS=1 a tool that is still missing is a failure; else the tests that need
# it are skipped with that reason.
set -u
# Debian keeps servers where only root's PATH leads.
PATH=$PATH:/usr/sbin

# "what must be there" and "the Debian package that brings it"; NAME:FILE is a library of compiler NAME.
# VERSION is that of gcc, and only x86-64 has a 32-bit form in it: the package gcc-multilib would remove the compilers for other processors.
table='
cc gcc
gcc gcc
gcc:32/libasan.so gcc-VERSION-multilib
clang clang
clang:libclang_rt.asan-MACHINE.a libclang-rt-dev
g++ g++
nm binutils
cmake cmake
ninja ninja-build
arm-none-eabi-gcc gcc-arm-none-eabi
arm-none-eabi-gcc:libc.a libnewlib-arm-none-eabi
qemu-system-arm qemu-system-arm
qemu-system-riscv32 qemu-system-misc
qemu-aarch64 qemu-user
qemu-arm qemu-user
aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu
aarch64-linux-gnu-gcc:libc.a libc6-dev-arm64-cross
arm-linux-gnueabihf-gcc gcc-arm-linux-gnueabihf
arm-linux-gnueabihf-gcc:libc.a libc6-dev-armhf-cross
riscv64-unknown-elf-gcc gcc-riscv64-unknown-elf
mosquitto mosquitto
mosquitto_passwd mosquitto
mosquitto_pub mosquitto-clients
curl curl
openssl openssl
chromium chromium
'

present() {
    tool=${1%%:*}
    command -v "$tool" >/dev/null 2>&1 || return 1
    case $1 in
    *:*)
        # A compiler prints the bare name of a file that it does not find.
        [ "$("$tool" -print-file-name="${1#*:}")" != "${1#*:}" ] || return 1
        ;;
    esac
}

missing() {
    version=$(gcc -dumpversion 2>/dev/null | cut -d. -f1)
    echo "$table" | sed "s/MACHINE/$(uname -m)/; s/VERSION/$version/" | while read -r what package; do
        [ "${what%%/*}" != gcc:32 ] || [ "$(uname -m)" = x86_64 ] || continue
        [ -z "$what" ] || present "$what" || echo "$package"
    done | sort -u | tr '\n' ' '
}

# Again where the first packages tell what others are called.
before=
wanted=$(missing)
while [ -n "$wanted" ] && [ "$wanted" != "$before" ]; do
    before=$wanted
    # One by one if all at once fails: one unknown package must not cost the others.
    # shellcheck disable=SC2086
    sh tools/apt_install.sh $wanted || for package in $wanted; do
        sh tools/apt_install.sh "$package" || true
    done
    wanted=$(missing)
done
if [ -z "$wanted" ]; then
    echo "isthmus: all system tools are there"
elif [ "${ISTHMUS_REQUIRE_TOOLS:-}" = 1 ]; then
    echo "isthmus: missing and required (ISTHMUS_REQUIRE_TOOLS=1): $wanted" >&2
    exit 1
else
    echo "isthmus: not installed, the tests that need them are skipped: $wanted"
fi
