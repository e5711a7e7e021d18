#!/bin/bash
# The two minutes of the documents, and the setup for Amazon Cognito, by somebody who has a fresh Debian with httpd, the
# package, and nothing but the documents: the commands come from them. The time is measured, without what is downloaded.
#
#   tests/package/newcomer.sh PACKAGE.deb [SUITE]
#
# SUITE is the Debian release; without it, the one of this machine. debian.sh and documented.sh say what it needs; it also
# needs target/idp/venv.
set -eu -o pipefail
cd "$(dirname "$0")/../.."
. tests/package/documented.sh
. tests/package/debian.sh

prepare_newcomer
debian apache2ctl start

# Ends if two minutes have gone by since then.
in_time() {
    local took=$((SECONDS - $2))
    check "$1 takes less than two minutes" yes "$( ((took < 120)) && echo yes || echo "$took s")"
    printf 'measured: %s, %d s of commands\n' "$1" "$took"
}
await_application() {
    curl --silent --output /dev/null --retry 60 --retry-delay 1 --retry-connrefused http://127.0.0.1:9000/health
}

echo "==> two minutes to a protected application"
begin=$SECONDS
document Install sh | grep '^sudo apt install ' | newcomer .
# The package is there: nothing is made. The application stays in the foreground of a terminal of its own.
document "Two minutes to a protected application" sh | sed -E '/^(sudo )?make /d
    s|^(venv/bin/uvicorn .*)|setsid \1 </dev/null >application.log 2>\&1 \& echo $! > application.pid|' | newcomer .
await_application
follow "Two minutes to a protected application"
in_time "from the package to a protected application" $begin
kill "$(cat "$clone/application.pid")"

echo "==> Amazon Cognito, with a certificate"
tls=$(mktemp -d "$root/tmp/tls.XXXXXX")
chmod 0755 "$tls"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=authority -keyout "$tls/ca.key" \
    -out "$tls/ca.pem" 2>/dev/null
# Makes NAME.pem and NAME.key, for a server with this name or address.
certify() {
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" -addext "subjectAltName=$2" \
        -keyout "$tls/$1.key" 2>/dev/null |
        openssl x509 -req -days 1 -CA "$tls/ca.pem" -CAkey "$tls/ca.key" -copy_extensions copy -out "$tls/$1.pem" 2>/dev/null
}
certify api.example.com DNS:api.example.com
certify server IP:127.0.0.1
cp "$tls/ca.pem" "$root/usr/local/share/ca-certificates/test.crt"
debian update-ca-certificates >/dev/null 2>&1
echo "127.0.0.1 api.example.com" >> "$root/etc/hosts"
coproc COGNITO { exec target/idp/venv/bin/python tests/idp/cognito.py 8443 "$tls"; }
read -r -u "${COGNITO[0]}" pool
member() { sed -E "s/.*\"$1\": \"([^\"]*)\".*/\1/"; }
echo '{"do": "tokens"}' >&"${COGNITO[1]}"
read -r -u "${COGNITO[0]}" tokens

begin=$SECONDS
# What the text says before the commands: the pool, the client and the certificate.
newcomer apache-conf/examples/1-cognito-backend <<SCRIPT
sed -i -e 's|https://cognito-idp.*_Ab12Cd34E|$(member issuer <<<"$pool")|' -e 's|4f5g6h7j8k9l0example|$(member app <<<"$pool")|' vhost.conf
sudo install -d /etc/apache2/tls
sudo install -m 0600 ${tls#"$root"}/api.example.com.* /etc/apache2/tls
$(setup 1-cognito-backend)
TOKEN=$(member access_token <<<"$tokens")
SCRIPT
await_application
# Keys of the pool are fetched in the background.
for _ in {1..100}; do
    [[ $(echo 'curl -s -o /dev/null -w "%{http_code}" https://api.example.com/jobs/ -H "Authorization: Bearer $TOKEN"' |
        newcomer .) == 503 ]] || break
    sleep 0.1
done
follow "1. For users of Amazon Cognito"
in_time "the setup for Amazon Cognito" $begin
check "the module has no complaint" "" \
    "$(grep -E '\[jwt_gate:(warn|error|crit|alert|emerg)\]' "$root/var/log/apache2/error.log" || true)"
checked
