/* -mcpu=v4: sign-extending loads and moves, signed division, unconditional byte swap, far jumps. */
#include "packet.h"

s8 bytes[4] = { -1, 100, -100, 7 };
s16 halves[4] = { -300, 300, -1, 12345 };
s32 words[4] = { -70000, 70000, -1, 1 };
s64 sums[4];

static NOINLINE s64 extend(u64 x)
{
	OPAQUE(x);
	return (s64)(s8)x + (s64)(s16)(x >> 8) + (s64)(s32)(x >> 16);
}

SEC("classifier")
int sign(struct __sk_buff *skb)
{
	u32 i = skb->len & 3;
	s64 sum = (s64)bytes[i] * halves[(i + 1) & 3] + words[(i + 2) & 3];
	s32 narrow = halves[i];
	s64 divisor = (s64)skb->len - 80;
	sums[0] = sum / divisor;
	sums[1] = sum % divisor;
	sums[2] = (s32)sum / (narrow | 1);
	sums[3] = extend(sum * 0x10001) + __builtin_bswap64(sum);
	skb->mark = __builtin_bswap32(skb->len) ^ sums[2];
	skb->cb[0] = sums[0];
	skb->cb[1] = sums[1];
	skb->cb[2] = sums[3];
	skb->cb[3] = __builtin_bswap16(skb->len);
	return sum < 0 ? TC_ACT_SHOT : TC_ACT_OK;
}

/* A body of more than 32,767 slots makes clang reach over it with gotol. */
#define X4(m, i) m(i) m(i + 1) m(i + 2) m(i + 3)
#define X16(m, i) X4(m, i) X4(m, i + 4) X4(m, i + 8) X4(m, i + 12)
#define X64(m, i) X16(m, i) X16(m, i + 16) X16(m, i + 32) X16(m, i + 48)
#define X256(m, i) X64(m, i) X64(m, i + 64) X64(m, i + 128) X64(m, i + 192)
#define X1024(m, i) X256(m, i) X256(m, i + 256) X256(m, i + 512) X256(m, i + 768)
#define X4096(m, i) X1024(m, i) X1024(m, i + 1024) X1024(m, i + 2048) X1024(m, i + 3072)
#define ROUND(i) sum = (sum ^ (u32)(0x9e3779b1u * (i))) + (sum >> 3);

SEC("xdp")
int far(struct xdp_md *ctx)
{
	u8 *p = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	if (p + 14 > end)
		return XDP_DROP;
	u32 sum = p[0] | p[1] << 8;
	u32 rounds = p[2] & 1;
	do {
		if (p[3] & 1) {
			X4096(ROUND, 0)
			X4096(ROUND, 4096)
		} else {
			sum += 5;
		}
		OPAQUE(sum);
	} while (rounds--);
	*(u32 *)(p + 4) = sum;
	return sum & 1 ? XDP_PASS : XDP_TX;
}

LICENSE("GPL");
