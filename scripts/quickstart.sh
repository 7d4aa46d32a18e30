#!/usr/bin/env bash
# Shows what fine-tuning does: sets up the environment, builds a corpus of docstrings, fine-tunes a small pretrained BART
# on it, and compares its summaries with those that it wrote before.
source "$(dirname -- "${BASH_SOURCE[0]}")/lib/strict.sh"
source "$root/scripts/lib/arguments.sh"
source "$root/scripts/lib/launch.sh"
source "$root/scripts/lib/jobs.sh"
source "$root/scripts/lib/phases.sh"

usage="usage: bash scripts/quickstart.sh [--controls] [--flag ...]
  --controls  also evaluate the fine-tuned model on the wrong texts, and train a model from random weights: shows what
              comes from reading and what from pre-training, and takes about twice as long
  --flag ...  further flags of finetune.py (python finetune.py --help lists them)
Needs two processor cores, some minutes and no GPU. Each phase says what it does and how long it took.
To use your own pairs instead of the docstrings, set DATA_DIR to a folder with a table (train.csv ...) or line files
(train.source, train.target ...) of each split; docs/data.md says what else it may be.
Results: \$RESULTS_DIR, by default a new folder results/quickstart_<timestamp> in the checkout."

read_command_line "$usage" 0 "$@"
controls=false
phase_count=5
training_flags=()
for flag in "${flags[@]}"; do
    case $flag in
        --controls)
            controls=true
            phase_count=6
            ;;
        --model_name_or_path | --model_name_or_path=* | --n_test | --n_test=* | --dry_run | --data_report)
            die "${flag%%=*}: the quickstart fine-tunes and evaluates models/bart_mini: give this flag to" \
                "scripts/run_summarization.sh instead"
            ;;
        *) training_flags+=("$flag") ;;
    esac
done
# What the other programs need of these flags: to read the same texts, and to score in the same way.
select_flags "$table_flag_names" "${training_flags[@]}"
table_flags=("${selected_flags[@]}")
select_flags "$evaluation_flag_names" "${training_flags[@]}"
evaluation_flags=("${selected_flags[@]}")
select_flags "$table_flag_names $rouge_flag_names" "${training_flags[@]}"
first_sentence_flags=("${selected_flags[@]}")

begin_phase "Set-up" "the Python environment of the checkout, from locked packages."
bash "$root/scripts/setup_env.sh"
find_python
data=${DATA_DIR:-data/docstrings}
[[ -z ${DATA_DIR:-} || ! -e $data ]] || data=$(realpath -- "$data")
results=${RESULTS_DIR:-$root/results/quickstart_$(date +%Y%m%d_%H%M%S)}
[[ $results == /* ]] || results=$PWD/$results
cd "$root" # the preset's paths are relative to it

model=models/bart_mini
report_flags=("${table_flags[@]}")
source "$root/scripts/params/docstrings_params.sh"
read -ra training < <(cpu)
read -ra from_scratch < <(cpu_from_scratch)
read -ra evaluation < <(cpu_eval)
training[0]=$data
from_scratch[0]=$data
evaluation[6]=$data

# Evaluates a model on the test split.
evaluate() { # MODEL FOLDER [--flag ...]
    RESULTS_DIR=$2 run_and_forward_signals bash "$root/scripts/run_eval_summarization.sh" \
        "$1" "${evaluation[@]}" "${evaluation_flags[@]}" "${@:3}"
}

if [[ -z ${DATA_DIR:-} ]]; then
    begin_phase "Corpus" "docstrings of Python packages, with their summary lines, in $data."
    run_and_forward_signals "$python" -P -m utils.corpora.docstrings "$data" --config configs/config_tiny.json
else
    begin_phase "Corpus" "uses your own data: $data."
    report_flags+=(--own_data)
fi

begin_phase "Fine-tuning" "$model learns from the train split, then summarizes the test split."
RESULTS_DIR=$results run_and_forward_signals bash "$root/scripts/run_summarization.sh" \
    "${training[@]}" --needs_test "${training_flags[@]}"

begin_phase "Baselines" "the pretrained model as it came, and the first sentence of every text."
evaluate "$model" "$results/pretrained"
run_and_forward_signals "$python" -P -m utils.commands.first_sentence "$data" "$results/first_sentence" \
    "${first_sentence_flags[@]}"

if $controls; then
    begin_phase "Controls" "the fine-tuned model on the wrong texts, and a training from random weights."
    report_flags+=(--controls)
    evaluate "$results/best_tfmr" "$results/shuffled_sources" --shuffle_sources
    RESULTS_DIR=$results/from_scratch run_and_forward_signals bash "$root/scripts/run_summarization.sh" \
        "${from_scratch[@]}" "${training_flags[@]}"
fi

begin_phase "Report" "what has changed, as text and as a page."
run_and_forward_signals "$python" -P -m utils.commands.quickstart_report "$data" "$results" "${report_flags[@]}"
end_phase
echo
print_phase_times
