#!/usr/bin/env bash
# Makes sure that C extensions for a Python can be compiled: install_compiler.sh PYTHON. Debian's packages, if we may.
set -euo pipefail

headers="$("$1" -c 'import sysconfig; print(sysconfig.get_path("include"))')"
packages=()
command -v gcc >/dev/null || packages+=(gcc libc6-dev)
# Only Debian's own Python comes without its headers.
[ -e "$headers/Python.h" ] || packages+=(libpython3-dev)

if [ ${#packages[@]} = 0 ]; then
    exit 0
fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "to compile, installing Debian's ${packages[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${packages[@]}" </dev/null >/dev/null
fi
if ! command -v gcc >/dev/null || ! [ -e "$headers/Python.h" ]; then
    echo "to compile, gcc and $headers/Python.h are needed (on Debian: apt-get install gcc libc6-dev libpython3-dev)" >&2
    exit 1
fi
