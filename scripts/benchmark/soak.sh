#!/usr/bin/env bash
# Kills trainings at random, resumes them, and compares their ends with those of trainings that were never killed.
source "$(dirname -- "${BASH_SOURCE[0]}")/../lib/strict.sh"
source "$root/scripts/lib/arguments.sh"
source "$root/scripts/lib/launch.sh"
source "$root/scripts/lib/jobs.sh"

usage="usage: bash scripts/benchmark/soak.sh [--mode train|save|ranks] [--kills N] [--seed S] [--folder F] [--json FILE]
Without --mode, makes 200 kills anywhere in trainings, 50 that are proven to hit the save of a checkpoint, and 40 of one
of two processes. Takes about six minutes on two processor cores. Prints how many of the kills were survived."

read_command_line "$usage" 0 "$@"
find_python
if [[ " ${flags[*]} " == *" --mode"[\ =]* ]]; then
    exec "$python" -P -m scripts.benchmark.soak "${flags[@]}"
fi
for kills in "train 200" "save 50" "ranks 40"; do
    run_and_forward_signals "$python" -P -m scripts.benchmark.soak --mode "${kills% *}" --kills "${kills#* }" "${flags[@]}"
done
