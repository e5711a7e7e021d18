# For the scripts beside this one, which are called with a package (*.deb) and perhaps a Debian release (without it, the one
# of this machine): makes a fresh Debian in $root, with httpd and nothing to build with, and goes on in namespaces of its
# own. There the ports are free, nothing else is reached, and nothing goes on afterwards. A script may name packages that its
# Debian has `besides`, and what is to be done `outside`, where the network is. Needs the packages curl, iproute2, mmdebstrap, openssl and util-linux, and root.

if [[ ${1:-} != --inside ]]; then
    (( EUID == 0 )) || { echo "please run as root: this makes a root and namespaces of its own" >&2; exit 1; }
    for program in curl ip mmdebstrap openssl unshare; do
        command -v $program >/dev/null ||
            { echo "missing: apt-get install curl iproute2 mmdebstrap openssl util-linux" >&2; exit 1; }
    done
    package=$(realpath "$1")
    archive=$(tests/package/root.sh "${2:-}" ${besides[@]+"${besides[@]}"})
    if declare -F outside >/dev/null; then outside "$archive"; fi
    exec unshare --mount --net --pid --fork --kill-child --mount-proc "$0" --inside "$package" "$archive"
fi
package=$2
. tests/package/check.sh

ip link set lo up
mkdir -p target/package
root=$(mktemp -d "$PWD/target/package/root.XXXXXX")
end() {
    # All of these are of this namespace: httpd, what the script started, and the mounts.
    kill $(jobs -p) $(cat "$root"/run/{apache2/apache2,unit-*}.pid 2>/dev/null) 2>/dev/null || true
    umount --lazy "$root"/{proc,dev,tmp}
    rm -rf --one-file-system "$root"
}
trap end EXIT

echo "==> a Debian in $root"
chmod 0755 "$root"
tar --extract --file "$3" --directory "$root" --exclude './dev/*'
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/tmp"
echo 'ServerName localhost' > "$root/etc/apache2/conf-enabled/name.conf"
# Packages may restart services here, although there is no init.
install -m 0755 /dev/stdin "$root/usr/sbin/policy-rc.d" <<<'#!/bin/true'

# Runs a command in a network of this name.
at() {
    local inside=(nsenter --net="/run/netns/$1")
    "${@:2}"
}
inside=()
# Runs a program of that Debian.
debian() {
    "${inside[@]}" env --ignore-environment PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 chroot "$root" "$@"
}
