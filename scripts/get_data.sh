#!/usr/bin/env bash
# Gets CNN-DM and XSum, as line files.
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

usage="usage: bash scripts/get_data.sh [FOLDER [cnn_dm|xsum|all]] [--flag ...]
default:   $root/data all

  FOLDER      takes cnn_dm/ and xsum/, each with {train,val,test}.{source,target}
  --flag ...  further flags of utils/corpora/get_data.py (python -m utils.corpora.get_data --help lists them)
From the Hugging Face hub; with BART_DATA_SOURCE=original from the reference's own sources; CNN-DM also from story
archives or files that are there: bash scripts/get_data.sh data cnn_dm --stories FOLDER
What is there already is left alone; what was interrupted goes on."

read_command_line "$usage" 2 "$@"
FOLDER=${positionals[0]:-$root/data}
CORPUS=${positionals[1]:-all}
find_python
exec "$python" -P -m utils.corpora.get_data --folder "$FOLDER" --corpus "$CORPUS" \
    --source "${BART_DATA_SOURCE:-hub}" "${flags[@]}"
