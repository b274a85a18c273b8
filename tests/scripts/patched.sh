#!/bin/sh
# Patches each object of tests/data with each set of passes, and has libbpf (by way of bpftool.sh) load what it
# loaded before. Needs root and a release build with the feature `cli`.
set -eu
cd "$(dirname "$0")/../.."
out=target/patched
rm -rf "$out"
mkdir -p "$out"

loaded=0
for object in tests/data/*.o; do
	name=$(basename "$object" .o)
	if ! tests/scripts/bpftool.sh "$object" >"$out/$name.log"; then
		echo "refused as it is: $object: $(tail -n 1 "$out/$name.log")"
		continue
	fi
	for passes in dce blind dce,blind; do
		target/release/relinear patch "$object" -o "$out/$name.$passes.o" --pass "$passes" --seed 1 >/dev/null 2>&1
		tests/scripts/bpftool.sh "$out/$name.$passes.o"
		loaded=$((loaded + 1))
	done
done
echo "$loaded patched objects loaded"
[ "$loaded" -gt 0 ]
