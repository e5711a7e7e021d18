#!/bin/bash
# Installs the Debian packages that the build and the tests need, if they are missing. httpd comes as apache2-bin, program
# and modules alone: no service is installed, and none is started.
#
#   tests/packages.sh [PACKAGE...] [--unpack PACKAGE...]
#
# Further packages may be named. Those behind --unpack are not installed, since they would start a service, or switch a
# module on in this machine's own httpd: their files come below target/unpacked, and only what they need is installed.
set -eu -o pipefail
cd "$(dirname "$0")/.."

unpack=()
packages=(curl)
while (( $# )); do
    if [[ $1 == --unpack ]]; then
        unpack=("${@:2}")
        break
    fi
    packages+=("$1")
    shift
done
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
        "openssl, mod_auth_openidc, mod_oauth2, mod_security2, promtool and Chromium, which JWT_GATE_CHROMIUM may name." >&2
    exit 0
fi

# Package lists that are missing or old are the common failure; fetching them takes a while, so only then.
with_lists() { "$@" || { get update && "$@"; }; }

get() {
    local root=()
    if (( EUID != 0 )); then
        command -v sudo >/dev/null || { echo "please run as root: apt-get $*" >&2; exit 1; }
        root=(sudo)
    fi
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q "$@"
}

install_missing() {
    local missing=() package
    for package; do
        [[ $(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null) == installed ]] ||
            missing+=("$package")
    done
    (( ${#missing[@]} )) || return 0
    echo "==> packages: ${missing[*]}"
    with_lists get install --yes --no-install-recommends "${missing[@]}"
}

# Whether programs and modules of this folder lack a library.
lack_libraries() {
    find "$1" -type f \( -name '*.so' -o -path '*/bin/*' \) -exec ldd {} \; 2>/dev/null | grep 'not found' >/dev/null
}

unpack_missing() {
    local package folder
    for package; do
        folder=target/unpacked/$package
        [[ ! -e $folder ]] || continue
        echo "==> unpacked: $package"
        rm -rf "$folder.draft"
        mkdir -p "$folder.draft"
        (cd "$folder.draft" && with_lists apt-get -q download "$package")
        dpkg-deb --extract "$folder.draft"/*.deb "$folder.draft"
        if lack_libraries "$folder.draft"; then
            # Names alone, without versions.
            install_missing $(dpkg-deb --field "$folder.draft"/*.deb Depends | sed 's/([^)]*)//g; s/,/ /g')
        fi
        rm "$folder.draft"/*.deb
        mv "$folder.draft" "$folder"
    done
}

install_missing "${packages[@]}"
unpack_missing "${unpack[@]}"
