#!/usr/bin/env bash
# Runs the tests that need a GPU, or measures a part's rows, on one GPU, and writes the outcome of each.
source "$(dirname -- "${BASH_SOURCE[0]}")/../lib/strict.sh"
source "$root/scripts/lib/arguments.sh"
source "$root/scripts/lib/launch.sh"
source "$root/scripts/lib/results.sh"

usage="usage: bash scripts/benchmark/gpu_acceptance.sh [--part N] [--device cpu] [--flag ...]

With --part, measures the rows of a part, at most 200 s each, the most valuable first; each figure is written to
partN.json when it is known, and a row that fails does not stop the next. Parts: 0 everything once, tiny; 1 training and
search beside transformers, and their profiles; 2 what each choice gains, and memory; 3 searches of all kinds, and
losses; 4 run_summarization.sh with a small model, and tests/gpu.

Without --part, runs tests/gpu on one GPU in under 9 minutes, and goes on after a failed test.

Needs no network, and installs nothing (set PYTHON to an interpreter that has torch and pytest). The exit code is 1 if a
row or a test failed or was not reached, else 0.

  --device cpu      run on the CPU, at a small size, the tests that can do so
  --keyword TEXT    run only tests whose name matches, as with pytest -k
  --test_limit N    seconds that one test may take (default: 120)
  --time_limit N    seconds that all tests (default: 520) or a part (default: 200) may take
  --part N          measure part N, 0 to 4
  --rows NAME,...   only these rows of the part
  --list            print the rows and the seconds that each is expected to take
  --tests PATH      a file or folder of tests (default: tests/gpu)
Results: gpu_acceptance.json and gpu_acceptance.log (what pytest printed), or partN.json and partN.log, in
\$RESULTS_DIR, by default a new folder results/gpu_acceptance_<timestamp>."

read_command_line "$usage" 0 "$@"
find_python
case " ${flags[*]} " in
    *" --list "*) exec "$python" -P -m scripts.benchmark.gpu_acceptance "${flags[@]}" ;;
esac
make_results_dir "${RESULTS_DIR:-results/gpu_acceptance_$(date +%Y%m%d_%H%M%S)}"
results=$(cd -- "$results" && pwd)
exec "$python" -P -m scripts.benchmark.gpu_acceptance --output_dir "$results" "${flags[@]}"
