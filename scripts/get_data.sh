#!/usr/bin/env bash
# Gets CNN-DM and XSum, as line files.
source "$(dirname -- "${BASH_SOURCE[0]}")/lib/strict.sh"
source "$root/scripts/lib/arguments.sh"
source "$root/scripts/lib/launch.sh"

argument FOLDER "$root/data" text --folder "takes cnn_dm/ and xsum/, each with {train,val,test}.{source,target}"
argument CORPUS all 'cnn_dm|xsum|all' --corpus
explain "--flag ..." "further flags of utils/corpora/get_data.py (python -m utils.corpora.get_data --help lists them)"

read_arguments "\
From the Hugging Face hub; with BART_DATA_SOURCE=original from the reference's own sources; CNN-DM also from story
archives or files that are there: bash scripts/get_data.sh data cnn_dm --stories FOLDER
What is there already is left alone; what was interrupted goes on." "$@"
find_python
exec "$python" -P -m utils.corpora.get_data "${program_flags[@]}" --source "${BART_DATA_SOURCE:-hub}" "${flags[@]}"
