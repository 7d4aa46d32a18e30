#!/usr/bin/env bash
# Texts in, summaries out.
source "$(dirname -- "${BASH_SOURCE[0]}")/lib/strict.sh"
source "$root/scripts/lib/arguments.sh"
source "$root/scripts/lib/launch.sh"

usage="usage: bash scripts/summarize.sh MODEL [FILE|-] [--flag ...]

  MODEL       a .ckpt, a model.pt of fairseq, a Hugging Face folder or a hub id
  FILE        a text on each line; - or nothing: standard input
  --one_text  all of the file is one text, such as an article with its paragraphs
  --json      JSON Lines with text and summary
  --flag ...  further flags of python -m utils.commands.summarize (its --help lists them)
Every summary is printed as soon as it is there, in the order of the texts:
    echo 'A long text.' | bash scripts/summarize.sh models/bart_mini"

read_command_line "$usage" 2 "$@"
((${#positionals[@]} >= 1)) || die "MODEL is missing (see --help)"
find_python
exec "$python" -P -m utils.commands.summarize "${positionals[0]}" "${positionals[1]:--}" "${flags[@]}"
