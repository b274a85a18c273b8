/* Addresses of functions in data and in code. libbpf reads no such data; other loaders may. */
#include "../bpf.h"

static NOINLINE u32 twice(u32 x)
{
	OPAQUE(x);
	return x * 2;
}

static NOINLINE u32 thrice(u32 x)
{
	OPAQUE(x);
	return twice(x) + x;
}

NOINLINE u32 global(u32 x)
{
	OPAQUE(x);
	return x + 1;
}

/* By section symbol and addend, and by function symbol. */
u32 (*table[4])(u32) SEC(".data.table") = { twice, thrice, global, 0 };

static NOINLINE long step(u32 i, u32 *sum)
{
	*sum += i;
	return 0;
}

SEC("xdp")
int pointers(void *ctx)
{
	u32 sum = thrice(3) + global(4);
	loop(4, step, &sum, 0);
	return sum & 3;
}

/* A program of the same section, which data points at: as struct_ops do. */
SEC("xdp")
int other(void *ctx)
{
	return twice((u64)ctx) & 1;
}

struct ops {
	int (*first)(void *);
	int (*second)(void *);
} ops SEC(".struct_ops") = { other, pointers };

LICENSE("GPL");
