/* Tail calls through a program array that the object itself fills: pointers to functions in .maps. */
#include "packet.h"

int on_ipv4(struct __sk_buff *skb);
int on_ipv6(struct __sk_buff *skb);

struct {
	UINT(type, MAP_PROG_ARRAY);
	UINT(max_entries, 4);
	UINT(key_size, 4);
	ARRAY(values, int(void *));
} next SEC(".maps") = {
	.values = {
		[1] = (void *)&on_ipv4,
		[2] = (void *)&on_ipv6,
	},
};

static NOINLINE u32 choose(struct __sk_buff *skb)
{
	u32 proto = skb->protocol;
	if (proto == net16(ETH_IPV4))
		return 1;
	return proto == net16(ETH_IPV6) ? 2 : 3;
}

SEC("tc")
int on_ipv4(struct __sk_buff *skb)
{
	skb->mark = 0x4000 + skb->len;
	return TC_ACT_PIPE;
}

SEC("tc")
int on_ipv6(struct __sk_buff *skb)
{
	skb->mark = 0x6000 + skb->cb[0];
	return TC_ACT_SHOT;
}

SEC("tc")
int dispatch(struct __sk_buff *skb)
{
	u32 which = choose(skb);
	skb->cb[0] = which;
	tail_call(skb, &next, which);
	skb->mark = 0xdead;
	return TC_ACT_OK;
}

/* The index is known: the kernel turns this into a direct jump. */
SEC("tc")
int direct(struct __sk_buff *skb)
{
	skb->cb[0] = 77;
	if (skb->len & 1)
		tail_call(skb, &next, 2);
	return skb->len & 2;
}

LICENSE("GPL");
