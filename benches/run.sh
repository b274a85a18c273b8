#!/bin/sh
# Runs every peer at every work and writes target/bench: report.json, tables.json, report.md, time.svg,
# memory.svg. --quick takes less than a minute once all is built; --help lists what else can be asked for.
set -eu
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"
cargo build --release --manifest-path benches/Cargo.toml --bin report
exec "$CARGO_TARGET_DIR/release/report" --out "$CARGO_TARGET_DIR/bench" "$@"
