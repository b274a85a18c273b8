#!/usr/bin/env bash
# Builds all targets by the script of ClusterFuzzLite, and gives each its corpus and a fixed number of executions.
# Without a nightly toolchain they run without the address sanitizer.
# usage: [RUNS=n] [SANITIZER=none] fuzz/smoke.sh [TARGET...]
set -euo pipefail
cd "$(dirname "$0")"
runs=${RUNS:-3000}

if ! command -v cargo-fuzz >/dev/null && ! cargo install -q cargo-fuzz --locked; then
	echo "skipped: there is no cargo-fuzz, and it could not be installed"
	exit
fi
export SANITIZER=${SANITIZER:-address}
if rustup toolchain list 2>/dev/null | grep -q ^nightly; then
	export RUSTUP_TOOLCHAIN=nightly
else
	echo "no nightly toolchain: fuzzing without the address sanitizer"
	SANITIZER=none
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export SRC=$work/src OUT=$work/out
# The build takes longer than the runs.
export CODEGEN_UNITS=${CODEGEN_UNITS:-16}
mkdir "$SRC" "$OUT"
ln -s "$PWD/.." "$SRC/relinear"
../.clusterfuzzlite/build.sh

if (($# == 0)); then
	mapfile -t targets < <(cargo fuzz list)
	set -- "${targets[@]}"
fi
for target; do
	mkdir -p "$work/new/$target" "corpus/$target"
	options=(-runs="$runs" -seed=1 -timeout=20 -print_final_stats=1 -artifact_prefix="$work/")
	options+=("$(sed -n 's/^max_len = /-max_len=/p' "$OUT/$target.options")")
	[[ ! -f $OUT/$target.dict ]] || options+=(-dict="$OUT/$target.dict")
	# What is found goes into the first directory, and so not into the corpus.
	if ! "$OUT/$target" "${options[@]}" "$work/new/$target" "corpus/$target" >"$work/log" 2>&1; then
		tail -n 60 "$work/log"
		echo "$target failed"
		for input in "$work"/{crash,oom,timeout,leak}-*; do
			[[ -f $input ]] && base64 "$input"
		done
		exit 1
	fi
	echo "$target: $(grep -o 'number_of_executed_units: .*' "$work/log"), $(grep -o 'cov: [0-9]*' "$work/log" | tail -1)"
done
