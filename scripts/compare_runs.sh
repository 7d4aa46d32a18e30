#!/usr/bin/env bash
# Whether one of two runs scores higher beyond chance.
source "$(dirname -- "${BASH_SOURCE[0]}")/lib/strict.sh"
source "$root/scripts/lib/arguments.sh"
source "$root/scripts/lib/launch.sh"

usage="usage: bash scripts/compare_runs.sh A B [--split train|val|test] [--json]

  A, B     results folders, of evaluations of the same examples
  --split  the split that both evaluated (test)
  --json   JSON instead of a table
Prints ROUGE of both, the difference with its 95% interval, and p by the paired bootstrap over the examples."

read_command_line "$usage" 2 "$@"
((${#positionals[@]} == 2)) || die "${#positionals[@]} positional arguments, of 2: two results folders (see --help)"
find_python
exec "$python" -P -m utils.commands.compare_runs "${positionals[@]}" "${flags[@]}"
