#!/usr/bin/env bash
# Gets CNN-DM and XSum, and writes them as line files.
source "$(dirname -- "${BASH_SOURCE[0]}")/lib/strict.sh"
source "$root/scripts/lib/arguments.sh"
source "$root/scripts/lib/launch.sh"

argument FOLDER "$root/data" text --folder "folder for cnn_dm/ and xsum/, each with {train,val,test}.{source,target}"
argument CORPUS all 'cnn_dm|xsum|all' --corpus
explain "--flag ..." "further flags (python -m utils.corpora.get_data --help lists them)"

read_arguments "\
Downloads the corpora from the Hugging Face hub or, with BART_DATA_SOURCE=original, from the sources of the reference
recipe. Makes CNN-DM also from stories that you have: bash scripts/get_data.sh data cnn_dm --stories FOLDER
Leaves a complete corpus alone, and goes on with an interrupted download." "$@"
find_python
exec "$python" -P -m utils.corpora.get_data "${program_flags[@]}" --source "${BART_DATA_SOURCE:-hub}" "${flags[@]}"
