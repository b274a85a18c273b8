/* Tail calls through a program array that the loader fills: slot 1 is on_ipv4, slot 2 on_ipv6. */
#include "packet.h"

struct {
	UINT(type, MAP_PROG_ARRAY);
	UINT(max_entries, 4);
	TYPE(key, u32);
	TYPE(value, u32);
} next SEC(".maps");

static NOINLINE u32 choose(struct __sk_buff *skb)
{
	u32 proto = skb->protocol;
	if (proto == net16(ETH_IPV4))
		return 1;
	return proto == net16(ETH_IPV6) ? 2 : 3;
}

SEC("classifier")
int on_ipv4(struct __sk_buff *skb)
{
	skb->mark = 0x4000 + skb->len;
	return TC_ACT_PIPE;
}

SEC("classifier")
int on_ipv6(struct __sk_buff *skb)
{
	skb->mark = 0x6000 + skb->cb[0];
	return TC_ACT_SHOT;
}

SEC("classifier")
int dispatch(struct __sk_buff *skb)
{
	u32 which = choose(skb);
	skb->cb[0] = which;
	tail_call(skb, &next, which);
	skb->mark = 0xdead;
	return TC_ACT_OK;
}

/* The index is known: the kernel turns this into a direct jump. */
SEC("classifier")
int direct(struct __sk_buff *skb)
{
	skb->cb[0] = 77;
	if (skb->len & 1)
		tail_call(skb, &next, 2);
	return skb->len & 2;
}

LICENSE("GPL");
