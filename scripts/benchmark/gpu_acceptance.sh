#!/usr/bin/env bash
# Runs the tests that need a GPU, on one GPU, and writes the outcome of each.
source "$(dirname -- "${BASH_SOURCE[0]}")/../lib/strict.sh"
source "$root/scripts/lib/arguments.sh"
source "$root/scripts/lib/launch.sh"
source "$root/scripts/lib/results.sh"

usage="usage: bash scripts/benchmark/gpu_acceptance.sh [--device cpu] [--flag ...]

Runs tests/gpu on one GPU in under 9 minutes, without network; installs nothing (set PYTHON to an interpreter that has
torch and pytest). Goes on after a failed test. The exit code is 1 if a test failed or was not reached, else 0.

  --device cpu      run on the CPU, at a small size, the tests that can do so
  --keyword TEXT    run only tests whose name matches, as with pytest -k
  --test_limit N    seconds that one test may take (default: 120)
  --time_limit N    seconds that all tests may take (default: 520)
  --tests PATH      a file or folder of tests (default: tests/gpu)
Results: gpu_acceptance.json and gpu_acceptance.log (what pytest printed) in \$RESULTS_DIR, by default a new folder
results/gpu_acceptance_<timestamp>."

read_command_line "$usage" 0 "$@"
find_python
make_results_dir "${RESULTS_DIR:-results/gpu_acceptance_$(date +%Y%m%d_%H%M%S)}"
results=$(cd -- "$results" && pwd)
exec "$python" -P -m scripts.benchmark.gpu_acceptance --output_dir "$results" "${flags[@]}"
