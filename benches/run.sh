#!/bin/sh
# Runs every peer at every work, and the command at whole objects, and writes target/bench: report.json,
# tables.json, objects.json, shares.json, report.md, and pictures: time.svg, memory.svg, shares.svg.
# --quick takes less than a minute once all is built; --help lists what else can be asked for.
#
# The objects are the kernel's selftests if tests/scripts/selftests-build.sh has built them, or else those
# of our own tests.
set -eu
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"
cargo build --release --manifest-path benches/Cargo.toml --bin report
cargo build --release --features cli --bin relinear

objects=
for name in pyperf180 pyperf600 xdp_synproxy_kern core_kern; do
    object=target/selftests/obj/$name.o
    if [ -f "$object" ]; then objects="$objects $object"; fi
done
if [ -z "$objects" ]; then
    echo "no target/selftests: patching objects of our tests; see tests/scripts/selftests-build.sh" >&2
    objects="tests/data/large.o tests/data/v4.o tests/data/xdp_parse.o"
fi
# shellcheck disable=SC2086 # names without spaces
exec "$CARGO_TARGET_DIR/release/report" --out "$CARGO_TARGET_DIR/bench" "$@" \
    --objects "$CARGO_TARGET_DIR/release/relinear" $objects
