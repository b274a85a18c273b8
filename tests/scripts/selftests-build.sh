#!/bin/sh
# Builds the BPF programs of the kernel's own selftests into target/selftests/obj, with clang-16,
# against the BTF of the running kernel. The kernel's sources are GPL: they are unpacked and built
# here and never committed. A program that does not compile is noted in target/selftests/uncompiled.
#
#   tests/scripts/selftests-build.sh [NAME...]     (Debian: apt-get install linux-source-6.1 libbpf-dev bpftool)
#
# With DEAD=1 every inline function is also kept as a function of its own, which nothing calls, as
# clang leaves nothing else for dead code elimination to do.
# With names, only those programs are built, and only where their object is not there yet.
set -eu
cd "$(dirname "$0")/../.."
: "${SOURCE:=/usr/src/linux-source-6.1.tar.xz}" "${CLANG:=clang-16}" "${OUT:=target/selftests}" "${DEAD:=}"
mkdir -p "$OUT/obj"
out=$(cd "$OUT" && pwd)

if [ ! -f "$out/src/.done" ]; then
	mkdir -p "$out/src"
	tar -C "$out/src" --strip-components=1 --wildcards -xf "$SOURCE" \
		'*/tools/testing/selftests/bpf' '*/tools/lib/bpf' '*/tools/include' \
		'*/scripts/bpf_doc.py' '*/include/uapi/linux'
	mkdir -p "$out/include/bpf"
	python3 "$out/src/scripts/bpf_doc.py" --header --file "$out/src/tools/include/uapi/linux/bpf.h" \
		>"$out/include/bpf/bpf_helper_defs.h"
	cp "$out"/src/tools/lib/bpf/*.h "$out/include/bpf/"
	touch "$out/src/.done"
fi
bpftool btf dump file /sys/kernel/btf/vmlinux format c >"$out/include/vmlinux.h"

# As CLANG_SYS_INCLUDES and BPF_CFLAGS in the selftests' Makefile.
system=$("$CLANG" -v -E - </dev/null 2>&1 |
	sed -n '/<...> search starts here:/,/End of search list./{ s| \(/.*\)|-idirafter \1|p }')
self=$out/src/tools/testing/selftests/bpf
flags="-g -O2 -target bpf -mcpu=v3 -D__TARGET_ARCH_x86 -DENABLE_ATOMICS_TESTS -mlittle-endian
	-Wno-compare-distinct-pointer-types -I$out/include -I$self -I$out/src/tools/include/uapi $system"

if [ -n "$DEAD" ]; then
	echo '#define inline inline __attribute__((used))' >"$out/include/keep.h"
	# But not the one function that has no meaning where it is not inlined.
	sed -i 's/^static __always_inline void$/static __inline__ __attribute__((always_inline)) void/' \
		"$out/include/bpf/bpf_helpers.h"
	flags="$flags -include $out/include/keep.h"
fi

cat >"$out/compile" <<END
#!/bin/sh
# compile FILE.c: makes its object, or notes that it could not.
set -u
name=\$(basename "\$1" .c)
extra=
case \$name in test_l4lb_noinline | test_xdp_noinline) extra=-fno-inline ;; esac
cd "$self"
$CLANG $(echo $flags) \$extra -c "\$1" -o "$out/obj/\$name.o" 2>"$out/log/\$name" || rm -f "$out/obj/\$name.o"
END
rm -rf "$out/log" && mkdir -p "$out/log"
[ $# -gt 0 ] || set -- $(ls "$self"/progs/*.c | sed 's|.*/||; s|\.c$||')
for name; do
	[ -f "$out/obj/$name.o" ] || echo "$self/progs/$name.c"
done | xargs -r -P "$(nproc)" -n 1 sh "$out/compile"
for name; do
	[ -f "$out/obj/$name.o" ] || echo "$name"
done >"$out/uncompiled"
echo "compiled $(($# - $(wc -l <"$out/uncompiled"))) of $#; the others are in $OUT/uncompiled"
