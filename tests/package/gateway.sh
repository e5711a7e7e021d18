#!/bin/bash
# The setup behind an API gateway, with machines that have addresses of their own: network namespaces for the gateway, for a
# stranger, and for Amazon, who publishes the list. Installed in a fresh Debian with the commands of its README; the list
# comes by the command lines of its unit, over TLS.
#
#   tests/package/gateway.sh PACKAGE.deb [SUITE]
#
# SUITE is the Debian release; without it, the one of this machine. debian.sh and documented.sh say what it needs.
set -eu -o pipefail
cd "$(dirname "$0")/../.."
. tests/package/documented.sh
. tests/package/debian.sh

server=192.0.2.1
gateway=192.0.2.10
stranger=198.51.100.10
amazon=203.0.113.10
prepare_newcomer

echo "==> four machines"
mkdir -p /run/netns
mount -t tmpfs tmpfs /run/netns
# A machine with this name and address: whatever it sends goes over a cable of its own to the server.
machine() {
    ip netns add "$1"
    ip link add "to-$1" type veth peer name eth0 netns "$1"
    ip address add "${2%.*}.1/24" dev "to-$1"
    ip link set "to-$1" up
    ip -netns "$1" link set lo up
    ip -netns "$1" address add "$2/24" dev eth0
    ip -netns "$1" link set eth0 up
    ip -netns "$1" route add default via "${2%.*}.1"
}
machine gateway $gateway
machine elsewhere $stranger
machine amazon $amazon
printf '%s\n' "$server api.example.com" "$amazon ip-ranges.amazonaws.com" >> "$root/etc/hosts"

tls=$(mktemp -d "$root/tmp/tls.XXXXXX")
chmod 0755 "$tls"
for name in api.example.com ip-ranges.amazonaws.com; do
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj "/CN=$name" \
        -addext "subjectAltName=DNS:$name" -keyout "$tls/$name.key" -out "$tls/$name.pem" 2>/dev/null
    cp "$tls/$name.pem" "$root/usr/local/share/ca-certificates/$name.crt"
done
debian update-ca-certificates >/dev/null 2>&1

# What Amazon publishes, with this network for the gateways of the region.
publish() {
    cat > "$published/ip-ranges.json.draft" <<LIST
{"syncToken": "1790000000", "createDate": "2026-10-01-00-00-00", "prefixes": [
  {"ip_prefix": "$1", "region": "eu-central-1", "service": "API_GATEWAY", "network_border_group": "eu-central-1"},
  {"ip_prefix": "198.51.100.0/24", "region": "eu-west-1", "service": "API_GATEWAY", "network_border_group": "eu-west-1"},
  {"ip_prefix": "198.51.100.0/24", "region": "eu-central-1", "service": "EC2", "network_border_group": "eu-central-1"}
], "ipv6_prefixes": []}
LIST
    mv "$published/ip-ranges.json.draft" "$published/ip-ranges.json"
}
published=$(mktemp -d "$root/tmp/published.XXXXXX")
publish 192.0.2.8/29
nsenter --net=/run/netns/amazon target/venv/bin/python - "$published" "$tls/ip-ranges.amazonaws.com" <<'SERVER' &
import functools, http.server, ssl, sys

folder, certificate = sys.argv[1:]
class Files(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("", 443), functools.partial(Files, directory=folder))
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain(f"{certificate}.pem", f"{certificate}.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
SERVER
curl --silent --insecure --output /dev/null --retry 60 --retry-delay 1 --retry-connrefused https://$amazon/

echo "==> the setup, by its README"
debian apt-get --quiet=2 --option Dpkg::Use-Pty=0 install "/home/newcomer/mod_jwt_gate/target/debian/$(basename "$package")" \
    </dev/null
debian install -d /etc/apache2/tls
install -m 0600 "$tls"/api.example.com.* "$root/etc/apache2/tls"
debian apache2ctl start
setup 0-behind-api-gateway | newcomer apache-conf/examples/0-behind-api-gateway
key=$(newcomer . <<<'printf %s "$KEY"')
curl --silent --output /dev/null --retry 60 --retry-delay 1 --retry-connrefused http://127.0.0.1:9000/
# The configuration is in force once the gateway is let in: a graceful restart takes its time.
get() { at "$1" debian curl --silent --max-time 20 --output /dev/null --write-out '%{http_code}' "${@:2}" || true; }
pods=https://api.example.com/pods/blue
secret=(-H "api-key: $key")
# The answers of one machine as they are in all processes of the server: eight times the same, or one after the other.
answers() { for _ in {1..8}; do echo "$(get "$1" $pods "${secret[@]}")"; done | sort -u | paste -sd ' '; }
await() {
    for _ in {1..60}; do
        [[ $(answers "$2") != "$1" ]] || return 0
    done
}
await 200 gateway

check "the gateway, with its secret" 200 "$(get gateway $pods "${secret[@]}")"
check "the gateway without it" 401 "$(get gateway $pods)"
check "the gateway with another one" 401 "$(get gateway $pods -H "api-key: ${key}x")"
check "a stranger without it" 403 "$(get elsewhere $pods)"
check "a stranger with the secret" 403 "$(get elsewhere $pods "${secret[@]}")"
check "a stranger who says that he comes from the gateway" 403 \
    "$(get elsewhere $pods "${secret[@]}" -H "X-Forwarded-For: $gateway" -H "Forwarded: for=$gateway")"
check "the server itself is a stranger, too" 403 \
    "$(debian curl --silent --output /dev/null --write-out '%{http_code}' $pods "${secret[@]}")"
follow "0. Behind an API gateway"

echo "==> around the gate"
for who in gateway elsewhere; do
    for address in $server ${stranger%.*}.1; do
        # 7: no connection
        check "from $who, the application at $address is not there" 7 \
            "$(at $who debian curl --silent --max-time 20 "http://$address:9000/pods/blue" >/dev/null; echo $?)"
    done
done

echo "==> another list"
processes() { ps --no-headers -o pid --ppid "$(cat "$root/run/apache2/apache2.pid")" | sort | paste -sd ' '; }
before=$(processes)
publish 198.51.100.8/29
check "published alone, it changes nothing" "200 403" "$(answers gateway) $(answers elsewhere)"
newcomer . <<<'sudo systemctl start ip-ranges.service'
await 200 elsewhere
check "fetched, it lets the stranger in" 200 "$(answers elsewhere)"
await 403 gateway
check "and the gateway of before no more" 403 "$(answers gateway)"
check "no process of the server was started for it" "$before" "$(processes)"
rm "$published/ip-ranges.json"
check "a list that cannot be fetched is a failure of the unit" failed \
    "$(newcomer . <<<'sudo systemctl start ip-ranges.service' 2>/dev/null && echo done || echo failed)"
check "and changes nothing" "200 403" "$(answers elsewhere) $(answers gateway)"
check "the log has addresses and reasons, and no secret" "yes 0" \
    "$(grep -q " $stranger \"GET /pods/blue\" 403 deny address-denied" "$root/var/log/apache2/gateway.log" && echo yes) $(
        grep -c "$key" "$root/var/log/apache2/gateway.log")"
checked
