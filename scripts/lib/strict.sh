# shellcheck shell=bash
# shellcheck disable=SC2034 # the scripts that source this use what it sets
# Sets strict mode, finds the checkout (`root`) and defines `log` and `die`. Every script sources this first.
set -euo pipefail

# macOS has bash 3.2 and no flock, Windows has neither.
if [[ $OSTYPE != linux* ]] || ((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] < 404)); then
    echo "error: these scripts need Linux with bash 4.4 or newer (a virtual machine, a container, or WSL on Windows);" \
        "this is $OSTYPE with bash $BASH_VERSION" >&2
    exit 2
fi

unset CDPATH # with it, cd may print a path and go to another folder

# The folder of the checkout, from whichever folder the script is called. The dot keeps newlines at the end of its name.
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && printf %s. "$PWD")
root=${root%.}

log() { printf '%s\n' "$*" >&2; }

# Prints an error in one line and ends the script with exit code 2, as the Python entry points do on bad input.
die() {
    log "error: $*"
    exit 2
}

[[ $root != *:* ]] ||
    die "$root has a colon in its name, at which Python splits its search path: rename that folder, or move the checkout"
