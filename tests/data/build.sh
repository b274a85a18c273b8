#!/bin/sh
# Rebuilds the objects beside the sources. `cargo test` does not need it: the objects are committed.
# Same compilers, same bytes: no path of the machine gets in (checked at the end).
set -eu
cd "$(dirname "$0")"
: "${CLANG16:=clang-16}" "${CLANG19:=clang-19}" "${CLANG22:=clang-22}" "${STRIP:=llvm-strip-16}"

flags="-O2 -Wall -Wno-unused-variable -Wno-unused-function -fdebug-compilation-dir=."
build() { # COMPILER OUTPUT SOURCE FLAGS...
	compiler=$1 output=$2 source=$3
	shift 3
	"$compiler" $flags "$@" -c "$source" -o "$output"
}
clang16() { build "$CLANG16" "$@"; }

for name in xdp_parse tc_mark subprogs loops globals core tailcall lock syscall ksyms large dead relocs; do
	clang16 $name.o $name.c -g -target bpf
done
clang16 alu32.o alu32.c -g -target bpf -mcpu=v3
clang16 atomics.o atomics.c -g -target bpf -mcpu=v3
clang16 nobtf.o nobtf.c -target bpf
clang16 reach.o reach.c -target bpf
clang16 xdp_parse.be.o xdp_parse.c -g -target bpfeb
clang16 subprogs.be.o subprogs.c -g -target bpfeb -mcpu=v3
build "$CLANG19" v4.o v4.c -g -target bpf -mcpu=v4

# No loader takes these: they are for the ELF layer alone.
clang16 elf/pointers.o elf/pointers.c -g -target bpf
clang16 elf/pointers.be.o elf/pointers.c -g -target bpfeb
"$CLANG19" -c elf/jump_table.s -o elf/jump_table.o -target bpf
build "$CLANG22" elf/gotox.o elf/gotox.c -g -target bpf -mcpu=v4
build "$CLANG22" elf/gotox_more.o elf/gotox_more.c -g -target bpf -mcpu=v4
build "$CLANG22" elf/gotox_more.be.o elf/gotox_more.c -target bpfeb -mcpu=v4
"$CLANG22" -c refused/stack_args.s -o refused/stack_args.o -target bpf

# The big ones go without DWARF, as most shipped objects do; BTF stays.
"$STRIP" -g large.o v4.o elf/gotox.o elf/gotox_more.o

if strings -a ./*.o elf/*.o refused/*.o | grep -nE "/(home|root|usr|tmp|work|build)/|$(pwd)"; then
	echo "a path of this machine is in an object" >&2
	exit 1
fi
