# shellcheck shell=bash
# Sourced by every script here: strict mode and what they share.
set -euo pipefail

# The checkout, wherever the script was called from.
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '%s\n' "$*" >&2; }

# Ends the script as the Python entry points end on bad input: one line, exit code 2.
die() {
    say "error: $*"
    exit 2
}

# Sets `python`: ${PYTHON} where it is set (a container's own), else the one that setup_env.sh made.
find_python() {
    python=${PYTHON:-$root/.venv/bin/python}
    command -v -- "$python" >/dev/null || {
        [[ -z ${PYTHON:-} ]] || die "PYTHON is set to $PYTHON, which is not a program"
        die "no Python environment yet: run bash $root/scripts/setup_env.sh"
    }
}
