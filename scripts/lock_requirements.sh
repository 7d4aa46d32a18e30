#!/usr/bin/env bash
# Resolves requirements/*.in afresh and writes requirements/*.txt. For maintainers; needs the network and takes minutes.
source "$(dirname -- "${BASH_SOURCE[0]}")/lib/strict.sh"

requirements=$root/requirements
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# Installs a list into the scratch environment and prints all packages there, without pip itself and without what
# depends on the machine: the build tag of torch (+cpu, +cu128) and the CUDA packages that torch installs. Triton is of
# these, but dev.in asks for it too, where its platform is.
resolve() {
    "$scratch/bin/python" -m pip install -qq --disable-pip-version-check --requirement "$1"
    "$scratch/bin/python" -m pip freeze --all --exclude pip |
        sed -E '/^(nvidia-|cuda-)/d; s/\+.*//; s/^triton==.*/&; platform_system == "Linux" and platform_machine == "x86_64"/'
}

# Resolves for the oldest Python, whose versions the newer ones take too. The newest numpy, for one, leaves it out.
command -v python3.11 >/dev/null || die "python3.11 is missing, the oldest Python that the lock is for: install it"
python3.11 -m venv "$scratch"
# A new environment of Python 3.11 holds an old setuptools; without it, pip resolves the newest one.
"$scratch/bin/python" -m pip uninstall --quiet --yes setuptools
runtime=$(resolve "$requirements/runtime.in")
everything=$(resolve "$requirements/dev.in")

{
    echo "# Locked by scripts/lock_requirements.sh from runtime.in."
    sed '/^triton/d' <<<"$runtime"
} >"$requirements/runtime.txt"
{
    echo "# Locked by scripts/lock_requirements.sh from dev.in: what runtime.txt does not have."
    grep -vxFf <(sed '/^triton/d' <<<"$runtime") <<<"$everything"
} >"$requirements/dev.txt"
