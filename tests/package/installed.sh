#!/bin/bash
# The life of the package in a fresh Debian that has httpd and nothing to build with: installed, asked as README's two
# minutes do, removed, purged.
#
#   tests/package/installed.sh PACKAGE.deb [SUITE]
#
# SUITE is the Debian release; without it, the one of this machine. debian.sh says what it needs.
set -eu -o pipefail
cd "$(dirname "$0")/../.."
. tests/package/debian.sh

apt() { debian apt-get --quiet=2 --option Dpkg::Use-Pty=0 --yes "$@" </dev/null; }
# All of them, but for what dpkg, a2enmod and the logs keep for themselves, and the administrator's secrets.
files() {
    debian find / -xdev \( -path /tmp -o -path /run -o -path /proc -o -path /dev -o -path /var/log -o -path /var/cache \
        -o -path /var/lib/apt -o -path /var/lib/dpkg -o -path /etc/apache2/jwt_gate \
        -o -name '*abled_by_*' -empty \) -prune -o -print | sort
}
switched() { if debian a2query -q -m jwt_gate; then echo on; else echo off; fi; }
# Whether the server that runs has the module in its memory.
running_with_module() {
    if grep -q mod_jwt_gate "/proc/$(cat "$root/run/apache2/apache2.pid")/maps"; then echo yes; else echo no; fi
}
get() { status "http://127.0.0.1:8080$1" "${@:2}"; }

before=$(files)
check "there is nothing to build with" "" "$(debian sh -c 'command -v cc gcc clang rustc cargo || true')"
debian apache2ctl start

echo "==> apt install"
cp "$package" "$root/tmp/jwt-gate.deb"
apt install /tmp/jwt-gate.deb
name=$(dpkg-deb --field "$package" Package)
version=$(dpkg-deb --field "$package" Version)
documents=/usr/share/doc/$name
check "the package is complete" "" "$(debian dpkg --verify "$name")"
check "its configuration is looked after" /etc/apache2/mods-available/jwt_gate.conf,/etc/apache2/mods-available/jwt_gate.load \
    "$(debian dpkg-query --show --showformat='${Conffiles}' "$name" | awk 'NF { print $1 }' | sort | paste -sd,)"
check "the module is on" on "$(switched)"
check "the server was restarted with it" yes "$(running_with_module)"
check "the command is there" "jwt-gate ${version%-*}" "$(debian jwt-gate --version)"
check "so is its manual" .TH "$(zcat "$root/usr/share/man/man1/jwt-gate-apikey-new.1.gz" | awk '/^\.TH/ { print $1 }')"
check "bash completes it" "yes" \
    "$(debian bash -c '. /usr/share/bash-completion/completions/jwt-gate; complete -p jwt-gate >/dev/null && echo yes')"
check "licences of what is linked are told" yes \
    "$(grep -q '^Files: ring-' "$root$documents/copyright" && echo yes)"

echo "==> two minutes to a protected application"
debian install -d -m 0700 /etc/apache2/jwt_gate
openssl rand -hex 32 | debian install -m 0600 /dev/stdin /etc/apache2/jwt_gate/quickstart.secret
debian cp "$documents/examples/quickstart/vhost.conf" /etc/apache2/sites-available/quickstart.conf
debian a2enmod --quiet jwt_gate proxy_http
debian a2ensite --quiet quickstart
check "configtest" "Syntax OK" "$(debian apache2ctl configtest 2>&1)"
debian apache2ctl restart
target/venv/bin/uvicorn --app-dir "$root$documents/examples/quickstart" app:app --port 9000 --log-level warning &
curl --silent --output /dev/null --retry 30 --retry-delay 1 --retry-connrefused http://127.0.0.1:9000/health

token=$(target/venv/bin/python "$root$documents/examples/quickstart/issue_token.py" \
    "$root/etc/apache2/jwt_gate/quickstart.secret" alice)
check "what is carved out" 200 "$(get /health)"
check "without token" 401 "$(get /me)"
check "with token" '{"user":"alice"}' "$(curl --silent http://127.0.0.1:8080/me -H "Authorization: Bearer $token")"
check "with a forged one" 401 "$(get /me -H "Authorization: Bearer ${token%?????}AAAAA")"
check "too often" "200 429" "$(get '/me?[1-20]' -H "Authorization: Bearer $token" | sort -u | paste -sd ' ')"

echo "==> an API key with a quota"
key=$(debian jwt-gate apikey new --file /etc/apache2/jwt_gate/keys.json --id partner-a 2>/dev/null)
debian tee /etc/apache2/sites-available/partner.conf >/dev/null <<'SITE'
JwtGateApiKeys /etc/apache2/jwt_gate/keys.json
<VirtualHost 127.0.0.1:8080>
    ServerName partner.example.com
    ProxyPass "/" "http://127.0.0.1:9000/"
    <Location "/">
        JwtGate on
        JwtGateCredentials api-key:X-Api-Key
        JwtGateLimit per-key key=api-key rate=10/s quota=10000/day
        JwtGateForward X-User api-key
    </Location>
</VirtualHost>
SITE
debian a2ensite --quiet partner
debian apache2ctl restart
partner=(-H "Host: partner.example.com")
check "without key" 401 "$(get /me "${partner[@]}")"
check "with key" '{"user":"partner-a"}' \
    "$(curl --silent http://127.0.0.1:8080/me "${partner[@]}" -H "X-Api-Key: $key")"
check "what outlives a restart is the server's alone" "www-data 700" \
    "$(debian stat --format '%U %a' /var/lib/apache2/jwt_gate)"

echo "==> apt remove"
debian a2dissite --quiet --purge quickstart partner
debian rm /etc/apache2/sites-available/{quickstart,partner}.conf
apt remove "$name"
check "the module is off" off "$(switched)"
check "the server was restarted without it" no "$(running_with_module)"
check "what was configured and counted stays" "jwt_gate.conf jwt_gate.load yes" \
    "$(cd "$root/etc/apache2/mods-available" && echo jwt_gate.*) $(test -d "$root/var/lib/apache2/jwt_gate" && echo yes)"
apt install /tmp/jwt-gate.deb
check "installed again, it is on again" yes "$(running_with_module)"

echo "==> apt purge"
apt purge "$name"
check "the server runs without it" no "$(running_with_module)"
debian a2dismod --quiet --purge proxy_http proxy
check "nothing is left" "" "$(diff <(echo "$before") <(files) || true)"
checked
