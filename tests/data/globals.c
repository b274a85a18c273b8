/* Global variables of every kind; .rodata switches make branches and whole subprograms dead. */
#include "bpf.h"

const volatile u32 mode = 2;
const volatile u32 debug = 0;
const volatile u64 limits[4] = { 10, 64, 200, 1000 };
u32 hits = 5;
u64 table[4] = { 1, 2, 3, 4 };
u64 total;
static volatile u32 latest;

struct {
	UINT(type, MAP_ARRAY);
	UINT(max_entries, 4);
	TYPE(key, u32);
	TYPE(value, u64);
} journal SEC(".maps");

/* Called only where `debug` is set: dead once the verifier knows .rodata. */
static NOINLINE void trace(u32 key, u64 value)
{
	key &= 3;
	map_update(&journal, &key, &value, 0);
	OPAQUE(value);
	if (value > 100)
		map_delete(&journal, &key);
}

static NOINLINE u64 step(u64 value)
{
	OPAQUE(value);
	if (debug)
		trace(1, value);
	switch (mode) {
	case 0:
		return value + 1;
	case 1:
		return value * 3;
	case 2:
		return value ^ 0x5a5a;
	default:
		return value / 7;
	}
}

SEC("classifier")
int count(struct __sk_buff *skb)
{
	u32 len = skb->len;
	if (debug > 1)
		trace(0, len);
	u32 i = 0;
	for (; i < 4; i++)
		if (len < limits[i])
			break;
	hits += 1;
	total += step(len);
	table[i & 3] += hits;
	latest = len;
	skb->cb[0] = i;
	skb->mark = total;
	return debug ? TC_ACT_SHOT : TC_ACT_OK;
}

/* Branches on what is always so, spelled in assembly so that clang keeps them. */
SEC("xdp")
int constant(struct xdp_md *ctx)
{
	u64 result = ctx->data_end - ctx->data;
	asm volatile("r1 = 7;"
		     "if r1 == 7 goto 1f;"
		     "%[r] = 100;"
		     "%[r] += 1;"
		     "1: if r1 != 7 goto 2f;"
		     "%[r] += 3;"
		     "goto 3f;"
		     "2: %[r] = 1;"
		     "3: goto +0;"
		     "if r1 > 8 goto 2b;"
		     : [r] "+r"(result)
		     :
		     : "r1");
	total += result;
	if (mode == 9) {
		hits = 0;
		return XDP_ABORTED;
	}
	return result & 1 ? XDP_PASS : XDP_DROP;
}

SEC("socket")
int reads(struct __sk_buff *skb)
{
	return (table[skb->len & 3] + hits + mode) & 0xffff;
}

LICENSE("GPL");
