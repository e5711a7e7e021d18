#!/bin/bash
# Installs the Debian packages that the build and the tests need, if they are missing. Further packages may be named
# as arguments. httpd comes as apache2-bin, program and modules alone: no service is installed, and none is started.
set -eu -o pipefail

packages=(curl "$@")
# Whoever names an httpd of his own with APXS has it, with its headers.
if ! command -v "${APXS:-apxs}" >/dev/null || [[ $(command -v "${APXS:-apxs}") == /usr/bin/* ]]; then
    packages+=(apache2-bin apache2-dev)
fi
# bindgen reads httpd's headers with it.
[[ -n ${LIBCLANG_PATH:-} ]] || packages+=(libclang-dev)
command -v cc >/dev/null || packages+=(build-essential)
python3 -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3-venv)

if ! command -v dpkg-query apt-get >/dev/null; then
    echo "This is not Debian or Ubuntu: please see that there are httpd with its headers and apxs, libclang, curl," \
        "a C compiler and Python 3.11 or later (Fedora: httpd-devel clang-devel curl gcc python3); for the tests also" \
        "openssl and Chromium, which JWT_GATE_CHROMIUM may name." >&2
    exit 0
fi

missing=()
for package in "${packages[@]}"; do
    [[ $(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
done
(( ${#missing[@]} )) || exit 0

echo "==> packages: ${missing[*]}"
root=()
if (( EUID != 0 )); then
    if ! command -v sudo >/dev/null; then
        echo "please run as root: apt-get install ${missing[*]}" >&2
        exit 1
    fi
    root=(sudo)
fi
get() { "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q "$@"; }
install=(install --yes --no-install-recommends "${missing[@]}")
# Package lists that are missing or old are the common failure; fetching them takes a while, so only then.
get "${install[@]}" || { get update && get "${install[@]}"; }
