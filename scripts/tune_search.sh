#!/usr/bin/env bash
# Finds search settings on the validation split, and writes a configuration that has them.
source "$(dirname -- "${BASH_SOURCE[0]}")/lib/strict.sh"
source "$root/scripts/lib/arguments.sh"
source "$root/scripts/lib/launch.sh"
source "$root/scripts/lib/jobs.sh"
source "$root/scripts/lib/results.sh"

usage="usage: bash scripts/tune_search.sh MODEL DATA_DIR CONFIG [--flag ...]

  MODEL     a .ckpt, a model.pt of fairseq, a Hugging Face folder or a hub id
  DATA_DIR  a folder of line files or of tables, or a data set of the hub; only its validation split is read
  CONFIG    configuration with the present search settings
  --num_beams 1,2,4,8 --length_penalty 0.6,1,2 --min_length 0,10 --no_repeat_ngram_size 0,3
            values to try; by default a choice that follows from CONFIG and from the targets' lengths; lists that begin
            with a minus need an equals sign: --length_penalty=-1,2
  --metric  rouge1, rouge2, rougeL, rougeLsum or mean (default: mean, the geometric mean of the first three)
  --budget  settings to draw if the grid has more of them (default: 36)
  --flag ...  further flags, such as --n_obs, --bs, --device cpu and --fp16
              (python -m utils.commands.tune_search --help lists them)
Results: \$RESULTS_DIR, by default a new folder results/bart_pyt_tuning_<timestamp>: config.json, a CONFIG_PATH for
run_eval_summarization.sh, and tuning.json, which has all that was tried. To continue an interrupted tuning, set
RESULTS_DIR to its folder and add --resume."

read_command_line "$usage" 3 "$@"
((${#positionals[@]} == 3)) ||
    die "needs MODEL, DATA_DIR and CONFIG, got ${#positionals[@]} arguments (see --help)"
find_python
for flag in "${flags[@]}"; do
    [[ $flag != --resume || -n ${RESULTS_DIR:-} ]] ||
        die "--resume: set RESULTS_DIR to the results folder of the tuning to continue"
done
make_results_dir "${RESULTS_DIR:-results/bart_pyt_tuning_$(date +%Y%m%d_%H%M%S)}"
run_into_results joblog.log "$python" -P -m utils.commands.tune_search \
    "${positionals[0]}" "${positionals[2]}" "${positionals[1]}" "$results" "${flags[@]}"
