#!/bin/sh
# Patches the kernel's selftest objects with every set of passes and compares how they load and run
# on this kernel. Needs root, clang-16, bpftool, libbpf-dev, linux-source-6.1, and a release build.
#
#   tests/scripts/selftests.sh [--all | --sample | --dead] [ARGUMENTS OF compare.py...]
#
# --dead takes all, built with functions that nothing calls.
set -eu
cd "$(dirname "$0")/../.."
which=--sample
case ${1:-} in --all | --sample | --dead) which=$1 && shift ;; esac

mkdir -p target
gcc -O2 -o target/load tests/scripts/load.c -lbpf
if [ "$which" = --all ]; then
	tests/scripts/selftests-build.sh
	set -- "$@" target/selftests/obj/*.o
elif [ "$which" = --dead ]; then
	DEAD=1 OUT=target/selftests-dead tests/scripts/selftests-build.sh
	set -- "$@" target/selftests-dead/obj/*.o
else
	# shellcheck disable=SC2046 # one word a name
	tests/scripts/selftests-build.sh $(grep -v '^#' tests/scripts/selftests.sample)
	for name in $(grep -v '^#' tests/scripts/selftests.sample); do
		object=target/selftests/obj/$name.o
		if [ -f "$object" ]; then set -- "$@" "$object"; else echo "skipped: $name does not compile here"; fi
	done
fi
exec python3 tests/scripts/compare.py --run "$@"
