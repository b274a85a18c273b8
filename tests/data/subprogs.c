/* Static and global subprograms, shared by programs of several sections. */
#include "packet.h"

/* Static, never inlined: one copy in .text, called from four sections. */
static NOINLINE u32 mix(u32 a, u32 b)
{
	OPAQUE(a);
	a -= b;
	a ^= b << 7 | b >> 25;
	b += a;
	return a ^ b;
}

static NOINLINE u32 mix_all(const u32 *words, u32 n)
{
	u32 sum = n;
	for (u32 i = 0; i < 4; i++)
		if (i < n)
			sum = mix(sum, words[i]);
	return sum;
}

/* Global: the kernel verifies these on their own. */
NOINLINE u32 scale(u32 value, u32 by)
{
	OPAQUE(by);
	return by ? value * by / (by + 1) : mix(value, 17);
}

NOINLINE int classify(struct __sk_buff *skb, u32 limit)
{
	u32 len = skb->len;
	if (len > limit)
		return scale(len, 3);
	return scale(limit, len);
}

/* Reached by nobody: the loader never attaches it to a program. */
static NOINLINE SEC(".text") u32 orphan(u32 x)
{
	OPAQUE(x);
	return x * 3;
}

SEC("xdp")
int sum(struct xdp_md *ctx)
{
	u32 *words = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	u32 copy[4] = {};
	if (words + 4 > end)
		return mix(1, 2) & 1 ? XDP_DROP : XDP_PASS;
	copy[0] = words[0];
	copy[1] = words[1];
	copy[2] = words[2];
	copy[3] = words[3];
	words[0] = mix_all(copy, 4);
	words[1] = scale(words[1], copy[2] & 7);
	return XDP_PASS;
}

SEC("xdp.frags")
int second(struct xdp_md *ctx)
{
	u32 words[2] = { ctx->data_end - ctx->data, 5 };
	return mix_all(words, 2) % 5;
}

SEC("classifier")
int class(struct __sk_buff *skb)
{
	skb->mark = classify(skb, 90);
	skb->cb[0] = mix(skb->len, skb->mark);
	return TC_ACT_OK;
}

SEC("classifier")
int class_twice(struct __sk_buff *skb)
{
	int a = classify(skb, 60);
	int b = classify(skb, 600);
	skb->cb[1] = a;
	skb->cb[2] = b;
	return a < b ? TC_ACT_OK : TC_ACT_SHOT;
}

SEC("socket")
int socket_mix(struct __sk_buff *skb)
{
	u32 words[3] = { skb->len, skb->protocol, 9 };
	return mix_all(words, 3) & 0xfff;
}

LICENSE("GPL");
