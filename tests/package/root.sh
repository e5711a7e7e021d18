#!/bin/bash
# Makes the root of a Debian with httpd and nothing to build with, and prints where it is: an archive, made once and kept
# below target/. Needs the package mmdebstrap, and root.
#
#   tests/package/root.sh [SUITE [PACKAGE...]]
#
# SUITE is a Debian release; without it, or if it is empty, the one of this machine. PACKAGEs are there besides.
set -eu -o pipefail
cd "$(dirname "$0")/../.."

suite=${1:-$(. /etc/os-release && echo "$VERSION_CODENAME")}
packages=("${@:2}")
archive=target/container/$suite$(printf '%s' "${packages[@]/#/+}").tar

if [[ ! -e $archive ]]; then
    command -v mmdebstrap >/dev/null || { echo "missing: apt-get install mmdebstrap" >&2; exit 1; }
    echo "==> $archive" >&2
    mkdir -p "$(dirname "$archive")"
    mmdebstrap --quiet --format=tar --variant=minbase \
        --include=apache2,ca-certificates,util-linux"$(printf '%s' "${packages[@]/#/,}")" "$suite" \
        "$archive.draft" >&2
    mv "$archive.draft" "$archive"
fi
echo "$archive"
