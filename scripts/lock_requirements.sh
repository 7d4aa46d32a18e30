#!/usr/bin/env bash
# Resolves requirements/*.in afresh and writes requirements/*.txt. For maintainers; takes minutes and the network.
source "$(dirname -- "${BASH_SOURCE[0]}")/lib/strict.sh"

requirements=$root/requirements
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# Installs a list into the scratch environment and prints all that is there now. Without pip itself, and without what
# depends on the machine: the build tag of torch (+cpu, +cu128) and the CUDA packages that torch brings along.
resolve() {
    "$scratch/bin/python" -m pip install -qq --disable-pip-version-check --requirement "$1"
    "$scratch/bin/python" -m pip freeze --all --exclude pip |
        sed -E '/^(nvidia-|cuda-|triton)/d; s/\+.*//'
}

# What the oldest Python takes, the newer ones do; numpy's newest releases, for one, leave the oldest out.
command -v python3.11 >/dev/null || die "python3.11 is needed, the oldest Python that the lock is for: install it"
python3.11 -m venv "$scratch"
# New environments of Python 3.11 bring an old setuptools along; without it the newest one is resolved.
"$scratch/bin/python" -m pip uninstall --quiet --yes setuptools
runtime=$(resolve "$requirements/runtime.in")
everything=$(resolve "$requirements/dev.in")

{
    echo "# Locked by scripts/lock_requirements.sh from runtime.in."
    echo "$runtime"
} >"$requirements/runtime.txt"
{
    echo "# Locked by scripts/lock_requirements.sh from dev.in: what runtime.txt does not have."
    grep -vxFf <(echo "$runtime") <<<"$everything"
} >"$requirements/dev.txt"
