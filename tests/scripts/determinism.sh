#!/usr/bin/env bash
# Whether builds of other kinds give the same bytes: debug and release, on the default toolchain and on nightly, run
# twice and by two threads at once, on objects of both byte orders.
# `--quick`, which CI runs: the command alone, debug and release of the default toolchain.
#   tests/scripts/determinism.sh [--quick]
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if [[ ${1:-} == --quick ]]; then
	cargo build -q --features cli
	cargo build -q --release --features cli
	objects=(tests/data/*.o)
	for object in "${objects[@]}"; do
		for build in debug release; do
			"${CARGO_TARGET_DIR:-target}/$build/relinear" patch "$object" -o "$work/$build.o" --pass dce,blind --seed 7 2>/dev/null
		done
		cmp "$work/debug.o" "$work/release.o"
		rm "$work"/*.o
	done
	echo "the same bytes of ${#objects[@]} objects, debug and release"
	echo "skipped: nightly, which builds everything again: run tests/scripts/determinism.sh"
	exit
fi

toolchains=("")
if cargo +nightly --version >/dev/null 2>&1; then
	toolchains+=(+nightly)
else
	echo "skipped: nightly is not installed"
fi
first=
for toolchain in "${toolchains[@]}"; do
	for profile in test release; do
		name=${toolchain:-default}-$profile
		echo "-- $name"
		# shellcheck disable=SC2086 # an empty toolchain is no argument
		RELINEAR_HASHES=$work/$name cargo $toolchain test -q --profile "$profile" --target-dir "target/determinism$toolchain" \
			--all-features --test all -- determinism::
		[[ -s $work/$name ]] || { echo "$name did not run the test" && exit 1; }
		first=${first:-$name}
		diff "$work/$first" "$work/$name" || { echo "$name gives other bytes than $first" && exit 1; }
	done
done
echo "the same bytes of $(wc -l <"$work/$first") objects from $((2 * ${#toolchains[@]})) builds"
