#!/bin/bash
# Builds all fuzz targets into $OUT, each with its corpus and its dictionary, as OSS-Fuzz and ClusterFuzzLite want
# them. They set SRC, OUT and SANITIZER; fuzz/smoke.sh does too, to keep this in working order without their images.
set -eu
cd "$SRC/relinear/fuzz"

options=(--release --debug-assertions)
# For coverage their images set RUSTFLAGS, which a sanitizer would get in the way of.
[[ ${SANITIZER:-address} == address ]] || options+=(--sanitizer none)
[[ -z ${CODEGEN_UNITS:-} ]] || options+=(--codegen-units "$CODEGEN_UNITS")
cargo fuzz build "${options[@]}"

# Small inputs are many in the same time, and nearly all there is to find is in some of them.
declare -A longest=([asm]=256 [btf_ext]=512 [edits]=256 [object]=8192 [program]=1024 [relax]=512 [values]=1024)

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
	printf '[libfuzzer]\ntimeout = 20\nmax_len = %d\n' "${longest[$target]}" >"$OUT/$target.options"
done
