#!/usr/bin/env bash
# Resolves requirements/*.in and writes requirements/*.txt: the lock.
source "$(dirname -- "${BASH_SOURCE[0]}")/lib/strict.sh"

usage="usage: bash scripts/lock_requirements.sh [--keep-versions]
  --keep-versions   look up the hashes of the locked versions again
Resolves requirements/*.in afresh and writes requirements/*.txt, with the hashes of all files of each version. For
maintainers; needs Python 3.11 and the network. UV_DEFAULT_INDEX names an index other than the public one."

requirements=$root/requirements
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

kept=()
for argument in "$@"; do
    case $argument in
        --keep-versions) kept=("$requirements/"{runtime,torch,dev}.txt) ;;
        -h | --help) echo "$usage" && exit ;;
        *) die "unknown argument $argument: lock_requirements.sh takes --keep-versions or nothing" ;;
    esac
done

# Resolves lists for the oldest Python, whose versions the newer ones take too. The newest numpy, for one, leaves it
# out. Takes no release of the last week: most malicious ones are found within days.
resolve() {
    "$scratch/bin/uv" pip compile --quiet --python "$scratch/bin/python" --exclude-newer "1 week" \
        --generate-hashes --no-header --no-annotate "${kept[@]/#/--constraints=}" "$@"
}

# Drops the packages whose names match a pattern, each with its hashes.
without() { awk -v names="^($1)==" '/^[^ ]/ { kept = $0 !~ names } kept'; }

command -v python3.11 >/dev/null || die "python3.11 is missing, the oldest Python that the lock is for: install it"
python3.11 -m venv "$scratch"
"$scratch/bin/python" -m pip install --quiet --disable-pip-version-check uv==0.13.9

resolve "$requirements/runtime.in" >"$scratch/runtime.txt"
kept+=("$scratch/runtime.txt")
resolve "$requirements/"{runtime,dev}.in >"$scratch/dev.txt"
kept=()
resolve --no-deps "$requirements/numpy1.in" >"$scratch/numpy1.txt"

# Writes a file of the lock: what is left of its resolved list.
write() { # NAME ORIGIN
    { echo "# Locked by scripts/lock_requirements.sh from $2." && cat; } >"$requirements/$1.txt"
}

# torch has a file of its own, without hashes: its build depends on the index that a machine takes it from. What its CUDA
# builds bring is not locked. Triton is of these, but dev.in asks for it too, where its platform is.
cuda='nvidia-.*|cuda-.*'
sed -n 's/^\(torch==[^ ]*\).*/\1/p' "$scratch/runtime.txt" | write torch runtime.in
without "torch|triton|$cuda" <"$scratch/runtime.txt" | write runtime "runtime.in, but for torch.txt"
without "torch|$cuda" <"$scratch/dev.txt" | grep -vxFf "$requirements/runtime.txt" |
    sed 's/^triton==[^ ]*/& ; platform_system == "Linux" and platform_machine == "x86_64"/' |
    write dev "dev.in: what runtime.txt and torch.txt do not have"
write numpy1 numpy1.in <"$scratch/numpy1.txt"
