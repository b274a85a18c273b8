/* One function in which branches reach over more than 20,000 slots: they fit into 16 bits, but not any
 * more once code is added. Built without -g. */
#include "bpf.h"

#define X4(m, i) m(i) m(i + 1) m(i + 2) m(i + 3)
#define X16(m, i) X4(m, i) X4(m, i + 4) X4(m, i + 8) X4(m, i + 12)
#define X64(m, i) X16(m, i) X16(m, i + 16) X16(m, i + 32) X16(m, i + 48)
#define X256(m, i) X64(m, i) X64(m, i + 64) X64(m, i + 128) X64(m, i + 192)
#define X1024(m, i) X256(m, i) X256(m, i + 256) X256(m, i + 512) X256(m, i + 768)

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
		OPAQUE(hash);                                \
	} while (0);

SEC("xdp")
int scan(struct xdp_md *ctx)
{
	u8 *p = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	if (p + 64 > end)
		return XDP_DROP;
	u32 hash = 0x811c9dc5u;
	X1024(RULE, 0)
	X256(RULE, 1024)
	X256(RULE, 1280)
	*(u32 *)p = hash;
	return hash & 1 ? XDP_PASS : XDP_TX;
}

LICENSE("GPL");
