/* Built without -g: no BTF, so no line or function records either. */
#include "packet.h"

static const u8 weights[16] = { 3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3 };
static volatile u32 rounds;

static NOINLINE u32 weigh(const u8 *head)
{
	u32 sum = 0;
	for (u32 i = 0; i < 16; i++)
		sum += head[i] * weights[i];
	return sum;
}

SEC("socket")
int weight(struct __sk_buff *skb)
{
	u8 head[16];
	if (skb_load_bytes(skb, 0, head, sizeof(head)))
		return 1;
	rounds++;
	return weigh(head) + (rounds & 1);
}

SEC("xdp")
int light(struct xdp_md *ctx)
{
	u8 *p = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	if (p + 16 > end)
		return XDP_DROP;
	return weigh(p) > 3000 ? XDP_PASS : XDP_TX;
}

LICENSE("GPL");
