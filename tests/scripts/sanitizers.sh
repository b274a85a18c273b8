#!/usr/bin/env bash
# The core under Miri (tree borrows, strict provenance), AddressSanitizer and valgrind; objects under the latter two.
# `--quick` is what CI runs: the core, in a few minutes. What is not installed is skipped, and says so.
set -euo pipefail
cd "$(dirname "$0")/../.."
quick=${1:-}
host=$(rustc -vV | sed -n 's/^host: //p')
failed=0

skip() { echo "skipped: $*"; }
run() { echo "-- $*"; "$@" || failed=1; }

# The tests of the core: lists against the naive model, tables, what the list says of itself, memory that runs out.
core=(edits:: tables:: --skip corpus)
objects=(elf:: btf:: facts::)

if cargo +nightly miri --version >/dev/null 2>&1; then
	export MIRIFLAGS="-Zmiri-tree-borrows -Zmiri-strict-provenance -Zmiri-disable-isolation"
	cargo +nightly miri setup >/dev/null 2>&1 || true
	run env PROPTEST_CASES=4 cargo +nightly miri test -q --target-dir target/miri --no-default-features \
		--features bpf --test miri
else
	skip "Miri: rustup +nightly component add miri"
fi

if cargo +nightly --version >/dev/null 2>&1; then
	features=fuzzing,bpf tests=("${core[@]}")
	if [[ $quick != --quick ]]; then features=fuzzing,elf tests+=("${objects[@]}"); fi
	# Leaks are looked for as well; memory that is refused is a matter of tests/alloc.rs.
	run env RUSTFLAGS="-Zsanitizer=address" cargo +nightly test -q --target "$host" --target-dir target/asan \
		--no-default-features --features "$features" --test all -- "${tests[@]}"
else
	skip "AddressSanitizer: needs a nightly toolchain"
fi

if command -v valgrind >/dev/null; then
	features=bpf tests=(tables::)
	if [[ $quick != --quick ]]; then features=elf,bpf tests+=("${objects[@]}"); fi
	binary=$(cargo test --no-default-features --features "$features" --test all --no-run --message-format=json 2>/dev/null |
		sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
	run env PROPTEST_CASES=8 valgrind -q --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite \
		"$binary" --test-threads=1 "${tests[@]}"
else
	skip "valgrind is not installed"
fi
exit "$failed"
