#!/usr/bin/env bash
# Kills trainings at random and compares how they end with what was never killed.
source "$(dirname -- "${BASH_SOURCE[0]}")/../lib/strict.sh"
source "$root/scripts/lib/arguments.sh"
source "$root/scripts/lib/launch.sh"
source "$root/scripts/lib/jobs.sh"

usage="usage: bash scripts/benchmark/soak.sh [--mode train|save|ranks] [--kills N] [--seed S] [--folder F] [--json FILE]
Without --mode, one after another: 200 kills anywhere in trainings, 50 proven inside the save of a checkpoint, 40 of one of
two processes. Takes about six minutes on two processor cores, and prints how many kills were survived of those made."

read_command_line "$usage" 0 "$@"
find_python
if [[ " ${flags[*]} " == *" --mode"[\ =]* ]]; then
    exec "$python" -P -m scripts.benchmark.soak "${flags[@]}"
fi
for kills in "train 200" "save 50" "ranks 40"; do
    run_and_forward_signals "$python" -P -m scripts.benchmark.soak --mode "${kills% *}" --kills "${kills#* }" "${flags[@]}"
done
