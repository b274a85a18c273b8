/* More than 20,000 instructions, in two functions of one program: an unrolled byte scanner with a
 * table of rules. */
#include "bpf.h"

#define X4(m, i) m(i) m(i + 1) m(i + 2) m(i + 3)
#define X16(m, i) X4(m, i) X4(m, i + 4) X4(m, i + 8) X4(m, i + 12)
#define X64(m, i) X16(m, i) X16(m, i + 16) X16(m, i + 32) X16(m, i + 48)
#define X256(m, i) X64(m, i) X64(m, i + 64) X64(m, i + 128) X64(m, i + 192)

const volatile u32 strict = 0;

struct {
	UINT(type, MAP_ARRAY);
	UINT(max_entries, 4);
	TYPE(key, u32);
	TYPE(value, u64);
} score SEC(".maps");

/* One rule: fold a byte in, and branch on what came out. Both ways meet again with `hash` opaque,
 * so that the verifier sees one state and not two per rule. */
#define RULE(i)                                              \
	do {                                                 \
		u32 byte = p[(i) & 63];                      \
		hash = (hash ^ byte) * 0x01000193u + (i);    \
		if (byte == ((i) & 255))                     \
			hash += 0x55aa55aau;                 \
		else if (hash > 0xf0000000u)                 \
			hash ^= (u32)(i) * 0x9e3779b1u;      \
		if (strict && byte > 200)                    \
			return 0;                            \
		OPAQUE(hash);                                \
	} while (0);

static NOINLINE u32 first(const u8 *p)
{
	u32 hash = 0x811c9dc5u;
	X256(RULE, 0)
	X256(RULE, 256)
	X64(RULE, 512)
	X64(RULE, 576)
	return hash;
}

static NOINLINE u32 second(const u8 *p, u32 hash)
{
	X256(RULE, 640)
	X256(RULE, 896)
	X64(RULE, 1152)
	X64(RULE, 1216)
	return hash;
}

SEC("xdp")
int scan(struct xdp_md *ctx)
{
	u8 *p = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	u8 copy[64];
	if (p + 64 > end)
		return XDP_DROP;
	__builtin_memcpy(copy, p, sizeof(copy));
	u32 hash = second(copy, first(copy)), key = 0;
	u64 *cell = map_lookup(&score, &key);
	if (cell)
		*cell += hash;
	*(u32 *)p = hash;
	return hash & 1 ? XDP_PASS : XDP_TX;
}

LICENSE("GPL");
