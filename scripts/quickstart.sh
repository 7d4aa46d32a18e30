#!/usr/bin/env bash
# Sets up the environment, builds the docstring corpus, fine-tunes a small pretrained BART on it, and compares its
# scores with baselines.
source "$(dirname -- "${BASH_SOURCE[0]}")/lib/strict.sh"
source "$root/scripts/lib/arguments.sh"
source "$root/scripts/lib/launch.sh"
source "$root/scripts/lib/jobs.sh"

usage="usage: bash scripts/quickstart.sh [--flag ...]
  --flag ...  further flags of finetune.py (python finetune.py --help lists them)
Takes about ten minutes on two processor cores and needs no GPU.
Results: \$RESULTS_DIR, by default a new folder results/quickstart_<timestamp>."

read_command_line "$usage" 0 "$@"
bash "$root/scripts/setup_env.sh"
find_python
[[ ${RESULTS_DIR:-/} == /* ]] || RESULTS_DIR=$PWD/$RESULTS_DIR
cd "$root" # the preset's paths are relative to it

data=data/docstrings
results=${RESULTS_DIR:-results/quickstart_$(date +%Y%m%d_%H%M%S)}
source "$root/scripts/params/docstrings_params.sh"
read -ra training < <(cpu)
read -ra from_scratch < <(cpu_from_scratch)
read -ra evaluation < <(cpu_eval)

evaluate() { # MODEL FOLDER [--flag ...]
    local model=$1 folder=$2
    shift 2
    RESULTS_DIR=$folder run_and_forward_signals bash "$root/scripts/run_eval_summarization.sh" \
        "$model" "${evaluation[@]}" "$@"
}

run_and_forward_signals "$python" -P -m utils.corpora.docstrings "$data" --config configs/config_tiny.json

log "Fine-tuning and evaluating a small pretrained BART."
RESULTS_DIR=$results run_and_forward_signals bash "$root/scripts/run_summarization.sh" "${training[@]}" "${flags[@]}"

log "Evaluating it again, given the wrong text each time: what it scores without reading."
evaluate "$results/best_tfmr" "$results/shuffled_sources" --shuffle_sources

log "Evaluating the baselines: the pretrained model without fine-tuning, ..."
evaluate models/bart_mini "$results/pretrained"
log "... a model trained from random weights for as many steps, ..."
RESULTS_DIR=$results/from_scratch run_and_forward_signals bash "$root/scripts/run_summarization.sh" \
    "${from_scratch[@]}" "${flags[@]}"
log "... and the first sentence of every text."
run_and_forward_signals "$python" -P -m utils.commands.first_sentence "$data" "$results/first_sentence"

run_and_forward_signals "$python" -P -m utils.commands.quickstart_report "$data" "$results"
