#!/usr/bin/env bash
# Makes .venv in the checkout from the locked requirements; does nothing if it is up to date.
source "$(dirname -- "${BASH_SOURCE[0]}")/lib/strict.sh"
source "$root/scripts/lib/launch.sh"

usage="usage: bash scripts/setup_env.sh [--dev]
  --dev   also install what scripts/test.sh needs
Makes .venv in the checkout, from the locked requirements. Needs Python 3.11 to 3.14. pip's own settings (PIP_INDEX_URL,
PIP_FIND_LINKS, ...) choose the source of the packages, and so the build of torch. All others are checked against the
lock's hashes.
If PYTHON is set to an interpreter, the scripts use that one, and no .venv is made."

sets=(runtime)
for argument in "$@"; do
    case $argument in
        --dev) sets=(runtime dev) ;;
        -h | --help) echo "$usage" && exit ;;
        *) die "unknown argument $argument: setup_env.sh takes --dev or nothing" ;;
    esac
done

if [[ -n ${PYTHON:-} ]]; then
    find_python
    log "PYTHON is set: using $python as it is."
    exit
fi

venv=$root/.venv
stamp=$venv/setup.stamp # written last: what is installed
lock=$venv/setup.lock   # never removed, so it also shows that this script made the folder

# Prints the lines that the stamp holds once the given sets of requirements are installed.
stamp_lines() {
    "$venv/bin/python" --version
    (cd "$root/requirements" && sha256sum torch.txt "${@/%/.txt}")
}

up_to_date() {
    local lines
    [[ -f $stamp ]] && lines=$(stamp_lines "$@" 2>&1) && ! grep -qvxFf "$stamp" <<<"$lines"
}

# Prints the first suitable Python on PATH.
base_python() {
    local candidate
    for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
        if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    die "Python 3.11 to 3.14 is needed (python3 is $(python3 --version 2>/dev/null || echo missing)): install one of them"
}

make_venv() {
    local base
    base=$(base_python)
    "$base" -c 'import ensurepip, venv' 2>/dev/null ||
        die "$base cannot make virtual environments: install the system's package for that (apt install python3-venv)"
    find "$venv" -mindepth 1 -maxdepth 1 ! -path "$lock" -exec rm -rf -- {} +
    "$base" -m venv "$venv"
}

# Installs with pip, whose reason is above the error. Old versions of pip know these flags too.
pip_install() {
    "$venv/bin/python" -m pip install -qq --disable-pip-version-check "$@" ||
        die "pip could not install the requirements (its reason is above): if hashes do not match, a source in pip's" \
            "settings (pip config list) has other files than the lock, repacked or altered: leave that source out;" \
            "else check the network and the free disk space; then run bash scripts/setup_env.sh again"
}

# Hash mode wants a hash of everything that it installs, so torch, which has none, comes last, with its CUDA packages. By
# then, what else it needs is there. Setuptools comes first: it builds what has no wheel, in place of a version that pip
# would fetch for this without a hash.
install() {
    local files=("${@/#/$root/requirements/}")
    pip_install --require-hashes --no-deps \
        --requirement <(sed -n '/^setuptools==/,/[^\\]$/p' "$root/requirements/runtime.txt")
    pip_install --require-hashes --no-deps --no-build-isolation "${files[@]/#/--requirement=}"
    pip_install --requirement "$root/requirements/torch.txt"
}

up_to_date "${sets[@]}" && exit
[[ ! -e $venv/pyvenv.cfg || -e $lock ]] ||
    die "$venv was not made by this script: move it away, or set PYTHON to the interpreter to use"

mkdir -p "$venv"
exec {lock_descriptor}>>"$lock"
if ! flock --nonblock "$lock_descriptor"; then
    log "Another set-up is running here: waiting for its end."
    flock "$lock_descriptor"
    up_to_date "${sets[@]}" && exit
fi

log "Installing the locked requirements into .venv: about two minutes, more if torch must be downloaded."
up_to_date runtime || make_venv
rm -f "$stamp" # an interrupted installation is not up to date
install "${sets[@]/%/.txt}"
stamp_lines "${sets[@]}" >"$stamp.new"
mv "$stamp.new" "$stamp"
log "Set-up done: .venv takes $(du -sh "$venv" | cut -f1)."
