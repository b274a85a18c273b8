#!/bin/sh
# Counts instructions and compares them with the committed baseline, benches/icount.json.
#
#   benches/icount.sh            fails if anything grew by more than 2 %, or faster than promised
#   benches/icount.sh --accept   writes the counts of this run as the new baseline: commit it
set -eu
cd "$(dirname "$0")"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/../target}"

if ! command -v iai-callgrind-runner >/dev/null; then
    version=$(sed -n 's/^iai-callgrind = "\(.*\)"/\1/p' Cargo.toml)
    echo "needs: cargo install iai-callgrind-runner --version $version" >&2
    exit 1
fi

counts=$(mktemp)
trap 'rm -f "$counts"' EXIT
cargo bench --quiet --no-default-features --bench icount -- --output-format=json >"$counts"
cargo run --quiet --release --no-default-features --bin icount_check -- \
    icount.json "$(rustc --version | cut -d' ' -f2)" "$(valgrind --version)" "$@" <"$counts"
