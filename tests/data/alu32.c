/* Hashes: 32-bit arithmetic whose results are also used as 64-bit values. */
#include "bpf.h"

#define ROTL(x, n) ((x) << (n) | (x) >> (32 - (n)))

INLINE u32 murmur(const u32 *words, u32 n, u32 seed)
{
	u32 h = seed;
#pragma unroll
	for (u32 i = 0; i < 8; i++) {
		u32 k = words[i] * 0xcc9e2d51;
		k = ROTL(k, 15) * 0x1b873593;
		if (i < n)
			h = ROTL(h ^ k, 13) * 5 + 0xe6546b64;
	}
	h ^= h >> 16;
	h *= 0x85ebca6b;
	h ^= h >> 13;
	h *= 0xc2b2ae35;
	return h ^ h >> 16;
}

static NOINLINE u32 adler(const u8 *bytes)
{
	u32 a = 1, b = 0;
	for (u32 i = 0; i < 32; i++) {
		a = (a + bytes[i]) % 65521;
		b = (b + a) % 65521;
	}
	return b << 16 | a;
}

static NOINLINE u64 widen(u32 x, s32 y)
{
	OPAQUE(x);
	OPAQUE(y);
	u64 wide = x + 0xfffffff0u;
	s64 sign = y - 5;
	if ((s32)x < y)
		wide += sign;
	if (x > 0x80000000u)
		wide ^= 0x123456789abcdef0ull;
	return wide * (x | 1) + (y >> 3);
}

SEC("socket")
int hash(struct __sk_buff *skb)
{
	u32 words[8] = {};
	if (skb_load_bytes(skb, 0, words, 32))
		return skb->len;
	u32 h = murmur(words, skb->len / 4, skb->len);
	u32 a = adler((const u8 *)words);
	u64 w = widen(h, a);
	return (h ^ a ^ (u32)w ^ (u32)(w >> 32)) & 0x7fffffff;
}

SEC("xdp")
int xxh(struct xdp_md *ctx)
{
	u32 *p = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	u32 v1 = 0x24234428, v2 = 0x85ebca77, v3 = 0, v4 = 0x61c8864f;
	if (p + 8 > end)
		return XDP_DROP;
#pragma unroll
	for (int i = 0; i < 2; i++) {
		v1 = ROTL(v1 + p[4 * i] * 0x85ebca77u, 13) * 0x9e3779b1u;
		v2 = ROTL(v2 + p[4 * i + 1] * 0x85ebca77u, 13) * 0x9e3779b1u;
		v3 = ROTL(v3 + p[4 * i + 2] * 0x85ebca77u, 13) * 0x9e3779b1u;
		v4 = ROTL(v4 + p[4 * i + 3] * 0x85ebca77u, 13) * 0x9e3779b1u;
	}
	u32 h = ROTL(v1, 1) + ROTL(v2, 7) + ROTL(v3, 12) + ROTL(v4, 18);
	p[0] = h;
	*(u64 *)&p[2] = widen(h, v1);
	return (s32)h < 0 ? XDP_PASS : XDP_TX;
}

LICENSE("GPL");
