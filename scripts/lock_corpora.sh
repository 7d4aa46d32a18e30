#!/usr/bin/env bash
# Looks up the newest wheels of the packages in requirements/docstrings.in and prose.in, and writes their versions and
# hashes to docstrings.txt and prose.txt. For maintainers; needs the network.
source "$(dirname -- "${BASH_SOURCE[0]}")/lib/strict.sh"
source "$root/scripts/lib/launch.sh"

find_python
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

for list in docstrings prose; do
    "$python" -P -m utils.corpora.wheels "$root/requirements/$list.in" "$scratch/$list" >"$scratch/$list.txt"
    mv "$scratch/$list.txt" "$root/requirements/$list.txt"
done
