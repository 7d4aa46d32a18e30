#!/usr/bin/env bash
# Writes a smaller model with some layers of a fine-tuned one, to be fine-tuned again.
source "$(dirname -- "${BASH_SOURCE[0]}")/lib/strict.sh"
source "$root/scripts/lib/arguments.sh"
source "$root/scripts/lib/launch.sh"

usage="usage: bash scripts/make_student.sh MODEL FOLDER [--encoder_layers N] [--decoder_layers M]
          [--tokenizer_name_or_path TOKENIZER] [--allow_non_finite]

  MODEL    the teacher: a .ckpt, a model.pt of fairseq, a Hugging Face folder or a hub id
  FOLDER   the folder to write, which must not be there yet: the student and its tokenizer
  --encoder_layers, --decoder_layers   layers of the student, copied from the teacher at even spacing (default: all)
  --tokenizer_name_or_path   folder or hub id of the tokenizer, if there is none beside MODEL
  --allow_non_finite   take weights that are NaN or infinite
Example: bash scripts/make_student.sh results/bart_pyt_<timestamp>/best_tfmr my_student --decoder_layers 6
Then fine-tune it: bash scripts/run_summarization.sh ... --model_name_or_path my_student"

read_command_line "$usage" 2 "$@"
((${#positionals[@]} == 2)) ||
    die "needs MODEL and FOLDER, got ${#positionals[@]} arguments (see --help)"
find_python
exec "$python" -P -m utils.commands.make_student "${positionals[@]}" "${flags[@]}"
