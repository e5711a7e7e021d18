#!/bin/bash
# Runs the httpd tests, as this machine built them, against the httpd of another Debian in a container.
#
#   tests/httpd/container.sh [SUITE [FILTER...]]
#
# SUITE is a Debian release (trixie) whose C library is not older than this machine's; the image of it is made once and
# kept under target/. FILTERs go to the test binary. Needs the packages podman, catatonit, runc and mmdebstrap, and root.
set -eu -o pipefail
cd "$(dirname "$0")/../.."

suite=${1:-trixie}
shift || true
image=jwt-gate-httpd-python-$suite

for program in podman catatonit runc mmdebstrap; do
    command -v $program >/dev/null || { echo "missing: apt-get install podman catatonit runc mmdebstrap" >&2; exit 1; }
done

archive=$(tests/package/root.sh "$suite" python3)
podman image exists "$image" || podman import --quiet "$archive" "$image" >/dev/null

echo "==> build"
cargo build --locked
cargo build --locked -p jwt-gate
cargo build --locked --features panic-probe --target-dir target/panic-probe
test=$(cargo test --locked --package jwt-gate-httpd-tests --test httpd --no-run --message-format=json |
    sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -1)

echo "==> tests against the httpd of $suite"
# What make installed below target/ is for the host's Python: tests with FastAPI (those of the setups in apache-conf/examples,
# too), with the identity providers that others wrote, with the reader of metrics, and with a browser, stay outside. Looking into /proc of httpd's
# children, which are another user's, takes SYS_PTRACE; daemons need an init that reaps them.
exec podman --runtime runc --cgroup-manager cgroupfs run --rm --init --network=host \
    --cap-add SYS_PTRACE --ulimit nofile=4096:4096 --ulimit nproc=1000:1000 \
    --volume "$PWD:$PWD:ro" --workdir "$PWD" --env JWT_GATE_MODULE="$PWD/target/debug/libjwt_gate.so" \
    --env JWT_GATE_HTTPD=/usr/sbin/apache2 --env JWT_GATE_MODULES_DIR=/usr/lib/apache2/modules \
    "$image" "$test" --test-threads=4 --skip fastapi --skip installed --skip browser:: --skip status:: --skip login:: --skip metrics:: \
    --skip example_ "$@"
