#!/bin/bash
# Builds the container image around a Debian package.
#
#   apache-conf/package/container/build.sh PACKAGE.deb [OPTION...]
#
# OPTIONs go to `podman build`, such as --build-arg BASE=IMAGE for another Debian (not older than where the package was
# built), and --tag NAME. CONTAINER names another program than podman, such as docker.
set -eu -o pipefail

package=$1
shift
program=${CONTAINER:-podman}
command -v "$program" >/dev/null || { echo "missing: apt-get install podman, or set CONTAINER" >&2; exit 1; }

# Nothing else of the source comes to the builder.
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
cp "$(dirname "$0")"/{Containerfile,container.conf} "$context"
cp "$package" "$context/jwt-gate.deb"

# Podman's own format has no HEALTHCHECK.
format=()
[[ $(basename "$program") != podman ]] || format=(--format docker)
"$program" build "${format[@]}" --file "$context/Containerfile" "$@" "$context"
