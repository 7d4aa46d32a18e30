#!/usr/bin/env bash
# Sets up the environment, checks the sources and runs the tests. Passes its arguments to pytest: `-m slow` runs the
# long tests.
source "$(dirname -- "${BASH_SOURCE[0]}")/lib/strict.sh"
source "$root/scripts/lib/launch.sh"

bash "$root/scripts/setup_env.sh" --dev
find_python
cd "$root"

"$python" -m ruff check --quiet
"$python" -m mypy
mapfile -t scripts < <(find scripts .ci -name '*.sh' -o -name '*.sbatch' -o -path .ci/run)
PATH=$(dirname -- "$(command -v -- "$python")"):$PATH # pip installed the linters beside it
shellcheck "${scripts[@]}"
hadolint Dockerfile

# Hundreds of processes would compile all sources again.
unset PYTHONDONTWRITEBYTECODE

# One thread per process: the tests are many small computations. Four run side by side on two cores, for they
# wait for a third of their time and more. Files in order: by default those of few tests come last, among them the
# longest, at which one process would be left working alone.
OMP_NUM_THREADS=1 "$python" -m pytest --numprocesses 4 --dist loadfile --no-loadscope-reorder "$@"
