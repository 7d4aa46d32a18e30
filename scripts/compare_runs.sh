#!/usr/bin/env bash
# Tests whether one of two evaluations scores higher than the other beyond chance.
source "$(dirname -- "${BASH_SOURCE[0]}")/lib/strict.sh"
source "$root/scripts/lib/arguments.sh"
source "$root/scripts/lib/launch.sh"

usage="usage: bash scripts/compare_runs.sh A B [--split train|val|test] [--json]

  A, B     results folders with evaluations of the same examples
  --split  the evaluated split (default: test)
  --json   print JSON instead of a table
Prints ROUGE of both, their difference with its 95% interval, and p of a paired bootstrap over the examples."

read_command_line "$usage" 2 "$@"
((${#positionals[@]} == 2)) || die "needs A and B, got ${#positionals[@]} arguments (see --help)"
find_python
exec "$python" -P -m utils.commands.compare_runs "${positionals[@]}" "${flags[@]}"
