#!/bin/bash
# Makes the root of a Debian with httpd and nothing to build with, and prints where it is: an archive, made once and kept
# below target/. Needs the package mmdebstrap, and root.
#
#   tests/package/root.sh [SUITE]
#
# SUITE is a Debian release; without it, the one of this machine.
set -eu -o pipefail
cd "$(dirname "$0")/../.."

suite=${1:-$(. /etc/os-release && echo "$VERSION_CODENAME")}
archive=target/container/$suite.tar

if [[ ! -e $archive ]]; then
    command -v mmdebstrap >/dev/null || { echo "missing: apt-get install mmdebstrap" >&2; exit 1; }
    echo "==> $archive" >&2
    mkdir -p "$(dirname "$archive")"
    mmdebstrap --quiet --format=tar --variant=minbase --include=apache2,ca-certificates,util-linux "$suite" \
        "$archive.draft" >&2
    mv "$archive.draft" "$archive"
fi
echo "$archive"
