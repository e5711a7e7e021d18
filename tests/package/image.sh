#!/bin/bash
# The container image, built around the package on a fresh Debian and started as an administrator would who trusts it with
# nothing: without rights, on a file system that cannot be written. Asked over TLS, stopped, started again.
#
#   tests/package/image.sh PACKAGE.deb [SUITE]
#
# SUITE is the Debian release; without it, the one of this machine. Needs the packages podman, runc, catatonit and
# mmdebstrap, and root. The container has a network of its own with nothing in it but the loopback interface.
set -eu -o pipefail
cd "$(dirname "$0")/../.."
. tests/package/check.sh

for program in podman runc mmdebstrap; do
    command -v $program >/dev/null || { echo "missing: apt-get install podman catatonit runc mmdebstrap" >&2; exit 1; }
done
archive=$(tests/package/root.sh "${@:2}")
base=jwt-gate-base-$(basename "$archive" .tar)
name=jwt-gate-test-$$
image=$name
podman() { command podman --runtime runc --cgroup-manager cgroupfs --log-level fatal "$@"; }
limits=(--ulimit nofile=1024:1024 --ulimit nproc=1000:1000)

folder=$(mktemp -d)
application=
end() {
    [[ -z $application ]] || kill "$application" 2>/dev/null || true
    podman rm --force --volumes "$name" >/dev/null 2>&1 || true
    podman rmi "$image" >/dev/null 2>&1 || true
    rm -rf "$folder"
}
trap end EXIT

podman image exists "$base" || command podman import --quiet "$archive" "$base" >/dev/null
echo "==> build on $base"
apache-conf/package/container/build.sh "$1" --runtime /usr/sbin/runc --network host "${limits[@]}" \
    --build-arg BASE="localhost/$base" --tag "$image" >"$folder/build.log" 2>&1 || { cat "$folder/build.log"; exit 1; }

inspect() { podman image inspect --format "$1" "$image"; }
check "it runs as www-data" www-data "$(inspect '{{.Config.User}}')"
check "it ends gracefully" SIGWINCH "$(inspect '{{.Config.StopSignal}}')"
check "its health is looked after" true "$(inspect '{{ne .HealthCheck nil}}')"

echo "==> a site, with its certificate and its secret"
install -d -m 0755 "$folder" "$folder"/{sites,secrets}
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=localhost \
    -addext subjectAltName=DNS:localhost -keyout "$folder/secrets/tls.key" -out "$folder/tls.pem" 2>/dev/null
cp "$folder/tls.pem" "$folder/secrets"
openssl rand -hex 32 > "$folder/secrets/quickstart.secret"
chmod 0400 "$folder"/secrets/*
chown --recursive 33:33 "$folder/secrets"
cat > "$folder/sites/api.conf" <<'SITE'
<VirtualHost *:8443>
    SSLEngine on
    SSLCertificateFile    /etc/apache2/jwt_gate/tls.pem
    SSLCertificateKeyFile /etc/apache2/jwt_gate/tls.key
    JwtGateIssuer quickstart https://login.example.com audience=quickstart-api secret=jwt_gate/quickstart.secret
    ProxyPass "/" "http://127.0.0.1:9000/"
    <Location "/">
        JwtGate on
        JwtGateLimit per-user key=subject rate=5/s burst=10 quota=1000/day
        JwtGateForward X-User subject
    </Location>
    <Location "/health">
        JwtGate off
    </Location>
</VirtualHost>
SITE
run=(run --name "$name" --network none --read-only --cap-drop all
    --security-opt no-new-privileges "${limits[@]}")

check "without a site it does not start, and says why" 1 "$(podman "${run[@]}" --rm "$image" 2>&1 | grep -c sites-enabled)"

podman "${run[@]}" --detach --volume "$folder/sites:/etc/apache2/sites-enabled:ro" \
    --volume "$folder/secrets:/etc/apache2/jwt_gate:ro" "$image" >/dev/null
inside=(nsenter --target "$(podman inspect --format '{{.State.Pid}}' "$name")" --net)
"${inside[@]}" target/venv/bin/uvicorn --app-dir apache-conf/examples/quickstart app:app --port 9000 --log-level warning &
application=$!
"${inside[@]}" curl --silent --output /dev/null --retry 30 --retry-delay 1 --retry-connrefused http://127.0.0.1:9000/health

token=$(target/venv/bin/python apache-conf/examples/quickstart/issue_token.py "$folder/secrets/quickstart.secret" alice)
get() { "${inside[@]}" curl --silent --max-time 20 --cacert "$folder/tls.pem" "https://localhost:8443$1" "${@:2}"; }
code=(--output /dev/null --write-out '%{http_code}\n')
check "what is carved out" 200 "$(get /health "${code[@]}")"
check "without token" 401 "$(get /me "${code[@]}")"
check "with token" '{"user":"alice"}' "$(get /me -H "Authorization: Bearer $token")"
check "too often" "200 429" "$(get '/me?[1-20]' "${code[@]}" -H "Authorization: Bearer $token" | sort -u | paste -sd ' ')"
check "it is healthy" 0 "$(podman healthcheck run "$name" >/dev/null; echo $?)"
check "no process is root's" www-data "$(podman top "$name" user | tail -n +2 | sort -u)"
check "requests are in its log" yes "$(podman logs "$name" 2>/dev/null | grep '"GET /me HTTP/[0-9.]*" 401' >/dev/null && echo yes)"
check "the module has no complaint" "" "$(podman logs "$name" 2>&1 >/dev/null | grep -E '\[jwt_gate:(warn|error|crit|alert|emerg)\]' || true)"

echo "==> stopped, and started again"
podman stop --time 60 "$name" >/dev/null
check "it ended by itself" 0 "$(podman inspect --format '{{.State.ExitCode}}' "$name")"
used() { podman cp "$name:/var/lib/apache2/jwt_gate" - | tar --list --absolute-names | wc -l; }
check "what it counted is kept" yes "$( (($(used) > 1)) && echo yes)"
podman start "$name" >/dev/null
for _ in {1..60}; do
    state=$(podman inspect --format '{{.State.Status}}' "$name")
    if [[ $state != running ]] || podman healthcheck run "$name" >/dev/null 2>&1; then break; fi
done
check "it is healthy again" running "$state"
checked
