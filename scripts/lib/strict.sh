# shellcheck shell=bash
# shellcheck disable=SC2034 # the scripts that source this use what it sets
# Every script sources this first: strict mode, the checkout's folder, and how to say something.
set -euo pipefail

# macOS has bash 3.2 and no flock, Windows has neither.
if [[ $OSTYPE != linux* ]] || ((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] < 404)); then
    echo "error: these scripts need Linux with bash 4.4 or newer (a virtual machine, a container, or WSL on Windows);" \
        "this is $OSTYPE with bash $BASH_VERSION" >&2
    exit 2
fi

unset CDPATH # with it, cd prints where it goes, and may go elsewhere

# The checkout, wherever the script was called from.
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)

log() { printf '%s\n' "$*" >&2; }

# Ends the script as the Python entry points end on bad input: one line, exit code 2.
die() {
    log "error: $*"
    exit 2
}
