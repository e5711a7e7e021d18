# For the scripts beside this one: `check WHAT EXPECTED FOUND` ends the test if they differ, `checked` sums up.

passed=0

check() {
    if [[ $3 != "$2" ]]; then
        printf 'FAILED: %s\n  expected: %s\n  found:    %s\n' "$1" "$2" "$3"
        printf '%d passed, 1 failed\n' "$passed"
        exit 1
    fi
    printf '  ok  %s\n' "$1"
    passed=$((passed + 1))
}

checked() {
    printf '%d passed, 0 failed\n' "$passed"
}

# The status of an answer; further arguments are curl's.
status() {
    curl --silent --max-time 20 --output /dev/null --write-out '%{http_code}\n' "$@"
}
