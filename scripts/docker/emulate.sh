#!/usr/bin/env bash
# Does the Dockerfile's installation in a virtual environment, without docker, and runs a command there.
source "$(dirname -- "${BASH_SOURCE[0]}")/../lib/strict.sh"
source "$root/scripts/lib/arguments.sh"

usage="usage: bash scripts/docker/emulate.sh [BASE [COMMAND]]
default:   bash scripts/docker/emulate.sh apex 'python -m pytest -q tests/utils tests/modeling tests/generation'

  BASE     what scripts/docker/build.sh builds on: apex, current or volta
  COMMAND  a command line for bash, in quotes; it starts in the checkout
Makes the virtual environment build/emulated/BASE from the base's versions of Python (which must be on PATH), torch and
numpy, installs the requirements as the image does, then those of the tests, and has pip check them all. The rest of the
base's packages, its GPU libraries and apex are not there. Takes 8 GB of disk; does again only what is not done yet."

read_command_line "$usage" 2 "$@"
((${#flags[@]} == 0)) || die "${flags[0]}: put quotes around a command that has flags, to make it one argument"
base=${positionals[0]:-apex}
line=${positionals[1]:-python -m pytest -q tests/utils tests/modeling tests/generation}

# Release is the registry's torch that is nearest to the base's own, which calls itself `torch`. NVIDIA's are builds of
# a commit before the release, so of a version below it. Of numpy, 25.12 has 2.1.0 (issue 539 of ai-dynamo/aiperf), and
# 25.05 one before 2, as 25.08 still does (issue 487 of NVIDIA/earth2studio): 1.26.4 is the last. PyTorch's own image
# takes the newest of conda-forge, which was 2.3.2 when torch 2.8.0 came.
case $base in
    apex) interpreter=python3.12 release=2.8.0 torch=2.8.0a0+5228986c39.nv25.5 numpy=1.26.4 ;;
    current) interpreter=python3.12 release=2.10.0 torch=2.10.0a0+b4e4ee81d3.nv25.12 numpy=2.1.0 ;;
    volta) interpreter=python3.11 release=2.8.0 torch=2.8.0+cu126 numpy=2.3.2 ;;
    *) die "BASE is '$base': it must be apex, current or volta" ;;
esac
"$interpreter" -c 'import ensurepip, venv' 2>/dev/null ||
    die "$base has $interpreter: install it, and let it make virtual environments (apt install $interpreter-venv)"

venv=$root/build/emulated/$base
folder=$venv/opt/bart # what the image has in /opt/bart

# Installs torch and numpy, and gives torch the base's version.
make_base() {
    local packages
    rm -rf -- "$venv"
    "$interpreter" -m venv "$venv"
    PIP_CONSTRAINT='' "$venv/bin/python" -m pip install "torch==$release" "numpy==$numpy"
    packages=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    mv -- "$packages/torch-$release.dist-info" "$packages/torch-$torch.dist-info"
    sed -i "s/^Version: .*/Version: $torch/" "$packages/torch-$torch.dist-info/METADATA"
    sed -i "s/^__version__ = .*/__version__ = '$torch'/" "$packages/torch/version.py"
}

[[ -e $folder/base_is_made ]] || make_base
mkdir -p -- "$folder"
touch -- "$folder/base_is_made"

export PATH=$venv/bin:$PATH PYTHON=python
cp -- "$root/requirements/"{runtime,numpy1}.txt "$root/scripts/docker/"{keep_torch.py,install.sh} "$folder"
bash "$folder/install.sh" "$folder"
# torch brings its own triton.
sed '/^triton==/,/[^\\]$/d' "$root/requirements/dev.txt" >"$folder/dev.txt"
PIP_CONSTRAINT=$folder/constraints.txt python -m pip install --require-hashes --requirement "$folder/dev.txt"
python -m pip check || log "pip's complaints are above."

cd -- "$root"
exec bash -c "$line"
