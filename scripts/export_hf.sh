#!/usr/bin/env bash
# Writes a model as a Hugging Face folder, for other programs.
source "$(dirname -- "${BASH_SOURCE[0]}")/lib/strict.sh"
source "$root/scripts/lib/arguments.sh"
source "$root/scripts/lib/launch.sh"

usage="usage: bash scripts/export_hf.sh MODEL TARGET [--half] [--tokenizer_name_or_path TOKENIZER] [--allow_non_finite]

  MODEL    a .ckpt, a model.pt of fairseq, a Hugging Face folder or a hub id
  TARGET   the folder to write: config.json, generation_config.json, model.safetensors, the tokenizer and a README.md,
           which has data, settings and scores if MODEL lies in a results folder
  --half   write float16 weights, half the size
  --tokenizer_name_or_path   folder or hub id of the tokenizer, if there is none beside MODEL
  --allow_non_finite   take weights that are NaN or infinite
Example: bash scripts/export_hf.sh results/bart_pyt_<timestamp>/best_tfmr my_model"

read_command_line "$usage" 2 "$@"
((${#positionals[@]} == 2)) ||
    die "needs MODEL and TARGET, got ${#positionals[@]} arguments (see --help)"
find_python
exec "$python" -P -m utils.commands.export_model "${positionals[@]}" "${flags[@]}"
