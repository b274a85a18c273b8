#!/bin/bash
# Builds all fuzz targets into $OUT, each with its corpus and its dictionary, as OSS-Fuzz and ClusterFuzzLite want
# them. They set SRC, OUT and SANITIZER; fuzz/smoke.sh does too, to keep this in working order without their images.
set -eu
cd "$SRC/relinear/fuzz"

options=(--release --debug-assertions)
# For coverage their images set RUSTFLAGS, which a sanitizer would get in the way of.
[[ ${SANITIZER:-address} == address ]] || options+=(--sanitizer none)
cargo fuzz build "${options[@]}"

built="${CARGO_TARGET_DIR:-target}/x86_64-unknown-linux-gnu/release"
for target in $(cargo fuzz list); do
	cp "$built/$target" "$OUT/"
	if [[ -d corpus/$target ]]; then
		rm -f "$OUT/${target}_seed_corpus.zip"
		(cd "corpus/$target" && python3 -m zipfile -c "$OUT/${target}_seed_corpus.zip" ./*)
	fi
	if [[ -f dictionaries/$target.dict ]]; then
		cp "dictionaries/$target.dict" "$OUT/"
	fi
	printf '[libfuzzer]\ntimeout = 20\n' >"$OUT/$target.options"
done
