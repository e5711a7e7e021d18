# For the scripts beside this one, which source it before debian.sh: somebody who knows nothing but the documents works
# through them in $root, as the user newcomer, who may call sudo. Packages of Python are at hand: only their installation
# takes time. Needs target/venv besides.

# What the documents take for granted, and the smallest Debian has not.
besides=(curl openssl python3-venv sudo)
# Those of the Python in the archive of a root, whose usr/bin/python3 is a link to python3.11 or the like.
outside() {
    local python
    python=$(tar --list --verbose --file "$1" ./usr/bin/python3)
    export wheels=$PWD/target/package/wheels-${python##*python}
    if [[ ! $wheels -nt tests/requirements.txt ]]; then
        rm -rf "$wheels" "$wheels.draft"
        target/venv/bin/pip download --quiet --disable-pip-version-check --only-binary :all: --no-deps \
            --python-version "${python##*python}" --require-hashes --requirement tests/requirements.txt --dest "$wheels.draft"
        mv "$wheels.draft" "$wheels"
    fi
}

prepare_newcomer() {
    debian useradd --create-home --shell /bin/bash newcomer
    echo 'newcomer ALL=(ALL) NOPASSWD: ALL' > "$root/etc/sudoers.d/newcomer"
    echo "127.0.0.1 localhost $(uname -n)" > "$root/etc/hosts"
    install -m 0755 tests/package/systemctl "$root/usr/local/bin/systemctl"
    install -d "$root/etc/systemd/system"
    cp -r "$wheels" "$root/srv/wheels"
    printf '[global]\nno-index = true\nfind-links = /srv/wheels\n' > "$root/etc/pip.conf"
    # What a clone of the repository has for them, and what `make deb` makes.
    clone=$root/home/newcomer/mod_jwt_gate
    mkdir -p "$clone/target/debian"
    cp -r apache-conf "$clone"
    cp "$package" "$clone/target/debian"
    debian chown -R newcomer: /home/newcomer
}

# Runs a script as the newcomer, in a folder of the clone. Its variables KEY and TOKEN are there for scripts after it.
newcomer() {
    {
        printf 'set -eu -o pipefail\ntouch ~/variables\n. ~/variables\n'
        cat
        printf '\nfor name in $(compgen -v | grep -Ex "KEY|TOKEN"); do declare -p $name >> ~/variables; done\n'
    } > "$root/home/newcomer/script"
    debian runuser -u newcomer -- env HOME=/home/newcomer bash -c "cd ~/mod_jwt_gate/$1 && bash ~/script"
}

document() { target/venv/bin/python tests/package/document.py "$@"; }

# The commands of an example's own README.
setup() { sed -n '/^```sh$/,/^```$/ { /^```/d; p }' "apache-conf/examples/$1/README.md"; }

# Runs the commands of the console blocks below a heading, each where its prompt says, and looks for what is shown.
follow() {
    local line who= command= shown=()
    while IFS= read -r line; do
        if [[ $command == *\\ ]]; then
            command+=$'\n'$line
        elif [[ $line =~ ^([a-z]*)\$\ (.*)$ ]]; then
            [[ -z $command ]] || followed
            who=${BASH_REMATCH[1]} command=${BASH_REMATCH[2]} shown=()
        else
            shown+=("$line")
        fi
    done < <(document "$1" console)
    followed
}

followed() {
    local rest line missing=
    rest=$'\n'$(${who:+at "$who"} newcomer . <<<"$command" | tr -d '\r')$'\n'
    for line in "${shown[@]}"; do
        [[ $rest == *$'\n'"$line"$'\n'* ]] || { missing="$line, in$rest"; break; }
        rest=$'\n'${rest#*$'\n'"$line"$'\n'}
    done
    check "$who\$ ${command%%$'\n'*}" "" "$missing"
}
