#!/bin/bash
# Prints Debian's changelog of the package: that it was made, for which version, when and by whom. What has changed in the
# module is in its own.
#
#   apache-conf/package/changelog.sh MAINTAINER
set -eu -o pipefail
cd "$(dirname "$0")/../.."

version=$(sed -n '/^\[workspace.package\]/,/^$/ s/^version = "\(.*\)"$/\1/p' Cargo.toml)
moment=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
cat <<CHANGELOG
libapache2-mod-jwt-gate ($version-1) unstable; urgency=medium

  * mod_jwt_gate $version. See changelog.gz.

 -- $1  $(LC_ALL=C date --utc --rfc-email --date="@$moment")
CHANGELOG
