#!/usr/bin/env bash
# Runs the tests that need a GPU, on one, and writes what became of each.
source "$(dirname -- "${BASH_SOURCE[0]}")/../lib/strict.sh"
source "$root/scripts/lib/arguments.sh"
source "$root/scripts/lib/launch.sh"
source "$root/scripts/lib/results.sh"

usage="usage: bash scripts/benchmark/gpu_acceptance.sh [--device cpu] [--flag ...]

Runs tests/gpu on a GPU in under 9 minutes, without network; installs nothing (set PYTHON to an interpreter that has
torch and pytest). After a failure it goes on. Exit code: 0, or 1 where a test failed or was not reached.

  --device cpu      what can run without a GPU, at a small size
  --keyword TEXT    only tests whose name holds it, as with pytest -k
  --test_limit N    seconds that one test may take
  --time_limit N    seconds that all may take
  --tests PATH      a file or folder of tests instead of tests/gpu
Results: gpu_acceptance.json and gpu_acceptance.log (pytest's own) in \$RESULTS_DIR, by default a new folder
results/gpu_acceptance_<timestamp>."

read_command_line "$usage" 0 "$@"
find_python
make_results_dir "${RESULTS_DIR:-results/gpu_acceptance_$(date +%Y%m%d_%H%M%S)}"
results=$(cd -- "$results" && pwd)
exec "$python" -P -m scripts.benchmark.gpu_acceptance --output_dir "$results" "${flags[@]}"
