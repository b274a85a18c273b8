#!/usr/bin/env bash
# Measures the fuzz targets by planted faults. Each of faults/*.patch puts one into a copy of the repository, in the code
# that the target of its name is for, where it sleeps until its name is in PLANTED. So one build has them all, and each
# target runs from its corpus with one at a time.
# Says for each fault after how many seconds it was found; fails if one was not, or if a target fails without any.
# usage: [LIMIT=300] fuzz/faults.sh [FAULT...]
set -euo pipefail
cd "$(dirname "$0")/.."
limit=${LIMIT:-300}
work=${CARGO_TARGET_DIR:-$PWD/target}/faults
mkdir -p "$work"
rm -rf "$work/source"
git clone -q --shared . "$work/source"

cp fuzz/faults/*.patch "$work"
faults=("$@")
if ((${#faults[@]} == 0)); then
	mapfile -t faults < <(cd "$work" && ls ./*.patch | sed 's|^\./||; s|\.patch$||')
fi
cd "$work/source"
for fault in "${faults[@]}"; do
	git apply "$work/$fault.patch"
done
cat >>src/lib.rs <<'RUST'

/// Whether a fault is to be there.
pub(crate) fn planted(fault: &str) -> bool {
    static PLANTED: std::sync::OnceLock<std::string::String> = std::sync::OnceLock::new();
    PLANTED.get_or_init(|| std::env::var("PLANTED").unwrap_or_default()) == fault
}
RUST

if rustup toolchain list 2>/dev/null | grep -q ^nightly; then
	export RUSTUP_TOOLCHAIN=nightly
fi
mapfile -t targets < <(printf '%s\n' "${faults[@]}" | sed 's/-[0-9]*$//' | sort -u)
for target in "${targets[@]}"; do
	CARGO_TARGET_DIR=$work/target cargo fuzz build -s none "$target"
done

missed=0
run() { # TARGET: from its corpus, to the first fault or the end of time
	local binary new
	binary=$(find "$work/target" -path "*/release/$1" -type f | head -n 1)
	new=$(mktemp -d)
	local options=(-max_total_time="$limit" -timeout=60 -rss_limit_mb=4096 -artifact_prefix="$new/")
	[[ ! -f fuzz/dictionaries/$1.dict ]] || options+=(-dict="fuzz/dictionaries/$1.dict")
	mkdir "$new/corpus"
	"$binary" "${options[@]}" "$new/corpus" "fuzz/corpus/$1" >"$work/log" 2>&1
}
for fault in "${faults[@]}"; do
	target=${fault%-*}
	start=$SECONDS
	if PLANTED=$fault run "$target"; then
		echo "$fault: not found in $limit s"
		missed=1
	else
		echo "$fault: found after $((SECONDS - start)) s: $(grep -m1 -A1 "panicked at" "$work/log" | tail -n 1 | cut -c 1-120)"
	fi
done
exit "$missed"
