#!/usr/bin/env bash
# Summarizes texts, one a line.
source "$(dirname -- "${BASH_SOURCE[0]}")/lib/strict.sh"
source "$root/scripts/lib/arguments.sh"
source "$root/scripts/lib/launch.sh"

usage="usage: bash scripts/summarize.sh MODEL [FILE ...] [--flag ...]

  MODEL         a .ckpt, a model.pt of fairseq, a Hugging Face folder or a hub id
  FILE          files with one text on each line, or tables (.csv, .tsv, .jsonl, .json, .parquet); standard input if it
                is - or not given
  --one_text    read each file as one text, such as an article with its paragraphs
  --json        print JSON Lines with text and summary
  --output OUT  write a .txt, .csv, .tsv, .jsonl or .parquet file; the columns of tables are kept
  --flag ...    further flags, such as --num_beams (python -m utils.commands.summarize --help lists them)
Prints each summary as soon as it is written, in the order of the texts.
Example: echo 'A long text.' | bash scripts/summarize.sh models/bart_mini"

read_command_line "$usage" $# "$@"
((${#positionals[@]} >= 1)) || die "MODEL is missing (see --help)"
((${#positionals[@]} >= 2)) || positionals+=("-")
find_python
exec "$python" -P -m utils.commands.summarize "${positionals[@]}" "${flags[@]}"
