#!/usr/bin/env bash
# Writes a data folder whose training summaries are those of a teacher.
source "$(dirname -- "${BASH_SOURCE[0]}")/lib/strict.sh"
source "$root/scripts/lib/arguments.sh"
source "$root/scripts/lib/launch.sh"

usage="usage: bash scripts/pseudo_labels.sh RESULTS DATA_DIR FOLDER [--text_column NAME] [--summary_column NAME]

  RESULTS    results folder of the teacher's evaluation of the train split
  DATA_DIR   the data that were evaluated: a folder of line files or of tables, or a data set of the hub
  FOLDER     the data folder to write, which must not be there yet: train.source with the summaries of RESULTS as
             train.target, and val and test as they are in DATA_DIR
Example, the second command after the first one has ended. If that is interrupted, give it again: it goes on.
  RESULTS_DIR=results/labels bash scripts/run_eval_summarization.sh <TEACHER> 128 8 fp16 4 1024 142 data/cnn_dm \\
      configs/config.json --type_path train --resume
  bash scripts/pseudo_labels.sh results/labels data/cnn_dm data/cnn_dm_labels"

read_command_line "$usage" 3 "$@"
((${#positionals[@]} == 3)) ||
    die "needs RESULTS, DATA_DIR and FOLDER, got ${#positionals[@]} arguments (see --help)"
find_python
exec "$python" -P -m utils.commands.pseudo_labels "${positionals[@]}" "${flags[@]}"
