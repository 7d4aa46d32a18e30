#!/usr/bin/env bash
# Sets the environment up, checks the sources and runs the tests. Arguments go on to pytest: `-m slow` runs the long ones.
source "$(dirname -- "${BASH_SOURCE[0]}")/lib/strict.sh"
source "$root/scripts/lib/launch.sh"

bash "$root/scripts/setup_env.sh" --dev
find_python
cd "$root"

"$python" -m ruff check --quiet
"$python" -m mypy
mapfile -t scripts < <(find scripts .ci -name '*.sh' -o -name '*.sbatch' -o -path .ci/run)
PATH=$(dirname -- "$(command -v -- "$python")"):$PATH # pip put the linters beside it
shellcheck "${scripts[@]}"
hadolint Dockerfile

# One thread per process: the tests are many small computations, and two of them run side by side.
OMP_NUM_THREADS=1 "$python" -m pytest --numprocesses 2 --dist loadfile "$@"
