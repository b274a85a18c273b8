#!/usr/bin/env bash
# Whether builds of other kinds give the same bytes: debug and release, on the default toolchain and on nightly, of
# objects of both byte orders. (Twice, and by two threads at once, is a test: tests/all/determinism.rs.)
# `--quick`, which CI runs: the default toolchain alone.
#   tests/scripts/determinism.sh [--quick]
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

toolchains=("")
if [[ ${1:-} == --quick ]]; then
	echo "skipped: nightly, which builds everything again: run tests/scripts/determinism.sh"
elif cargo +nightly --version >/dev/null 2>&1; then
	toolchains+=(+nightly)
else
	echo "skipped: nightly is not installed"
fi

passes=(dce blind dce,blind)
builds=()
for toolchain in "${toolchains[@]}"; do
	target=target${toolchain/+//}
	for profile in dev release; do
		# shellcheck disable=SC2086 # an empty toolchain is no argument
		cargo $toolchain build -q --profile "$profile" --target-dir "$target" --features cli
		build=$work/${toolchain:-default}-$profile
		mkdir "$build"
		command=$target/${profile/dev/debug}/relinear
		for object in tests/data/*.o; do
			for names in "${passes[@]}"; do
				# What cannot be patched by a pass has to be refused in the same words.
				"$command" patch "$object" -o "$build/$(basename "$object" .o).$names.o" --pass "$names" --seed 7 >/dev/null \
					2>>"$build/errors" || echo "refused: $object $names" >>"$build/errors"
			done
			"$command" dis "$object" >"$build/$(basename "$object").dis"
		done
		builds+=("$build")
		diff -r "${builds[0]}" "$build" || { echo "$(basename "$build") gives other bytes" && exit 1; }
	done
done
echo "the same $(find "${builds[0]}" -name '*.o' | wc -l) objects from ${#builds[@]} builds"
