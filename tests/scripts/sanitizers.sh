#!/usr/bin/env bash
# The core under Miri (tree borrows, strict provenance), AddressSanitizer and valgrind; objects under the latter two.
# `--quick` is what CI runs: the core, in a minute, without AddressSanitizer. What is skipped says so.
set -euo pipefail
cd "$(dirname "$0")/../.."
quick=${1:-}
host=$(rustc -vV | sed -n 's/^host: //p')
failed=0

skip() { echo "skipped: $*"; }
run() { echo "-- $*"; "$@" || failed=1; }

# Those about the core: lists against the naive model, tables, errors, relaxation, memory that runs out, the editor. The
# rest is about objects. Without those that take minutes at full speed.
core=(lists_ models:: branches_take memory_ edits:: tables:: errors:: relax::random relax::limits relax::forms editor:: --skip corpus --skip million)
objects=(elf:: btf:: facts:: objects:: fuzzed::objects determinism::)

if cargo +nightly --version >/dev/null 2>&1 && ! cargo +nightly miri --version >/dev/null 2>&1; then
	rustup component add --toolchain nightly miri rust-src >/dev/null 2>&1 || true
fi
if cargo +nightly miri --version >/dev/null 2>&1; then
	export MIRIFLAGS="-Zmiri-tree-borrows -Zmiri-strict-provenance -Zmiri-disable-isolation"
	miri=(env PROPTEST_CASES=1 cargo +nightly miri test -q --target-dir target/miri --no-default-features --features fuzzing)
	"${miri[@]}" --test miri --test alloc --no-run
	# The memory that runs out in one process, all else in another.
	log=$(mktemp)
	"${miri[@]}" --test alloc >"$log" 2>&1 &
	alloc=$!
	run "${miri[@]}" --test miri
	wait "$alloc" || failed=1
	cat "$log"
	rm "$log"
else
	skip "Miri: rustup component add --toolchain nightly miri rust-src"
fi

if [[ $quick == --quick ]]; then
	skip "AddressSanitizer, which builds everything again: run tests/scripts/sanitizers.sh"
elif cargo +nightly --version >/dev/null 2>&1; then
	export RUSTFLAGS="-Zsanitizer=address"
	asan=(cargo +nightly test -q --target "$host" --target-dir target/asan)
	run "${asan[@]}" --no-default-features --features fuzzing,elf --test miri --test alloc --test all -- "${core[@]}" \
		"${objects[@]}"
	unset RUSTFLAGS
else
	skip "AddressSanitizer: needs a nightly toolchain"
fi

# The test binaries that these arguments of cargo give.
binaries() {
	cargo test "$@" --no-run --message-format=json 2>/dev/null |
		sed -n '/"kind":\["test"\]/s/.*"executable":"\([^"]*\)".*/\1/p'
}

if command -v valgrind >/dev/null; then
	memcheck=(valgrind -q --error-exitcode=9 --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite)
	for binary in $(binaries --all-features --test miri); do
		run "${memcheck[@]}" "$binary" --test-threads=1
	done
	if [[ $quick != --quick ]]; then
		for binary in $(binaries --all-features --test all); do
			run env PROPTEST_CASES=8 "${memcheck[@]}" "$binary" --test-threads=1 "${core[@]}" "${objects[@]}"
		done
	fi
else
	skip "valgrind is not installed"
fi
exit "$failed"
