#!/usr/bin/env bash
# Adds the seeds of each target that has some to its corpus, or to the directory of its name in DIRECTORY.
# usage: fuzz/seeds.sh [DIRECTORY]
set -euo pipefail
cd "$(dirname "$0")"
for target in asm object program; do
	./seeds.py "$target" "${1:-corpus}/$target"
done
