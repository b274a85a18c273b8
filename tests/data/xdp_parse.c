/* XDP: walks Ethernet, VLAN tags, IPv4 or IPv6 and ports; counts flows; answers by rewriting. */
#include "packet.h"

struct flow {
	u32 from, to;
	u16 from_port, to_port;
	u8 proto, pad[3];
};

struct count {
	u64 packets, bytes;
};

struct {
	UINT(type, MAP_HASH);
	UINT(max_entries, 128);
	TYPE(key, struct flow);
	TYPE(value, struct count);
} flows SEC(".maps");

struct {
	UINT(type, MAP_PERCPU_ARRAY);
	UINT(max_entries, 8);
	TYPE(key, u32);
	TYPE(value, u64);
} verdicts SEC(".maps");

INLINE int verdict(u32 action)
{
	u64 *n = map_lookup(&verdicts, &action);
	if (n)
		*n += 1;
	return action;
}

INLINE u32 fold6(const u32 *a)
{
	return a[0] ^ a[1] ^ a[2] ^ a[3];
}

INLINE int parse_ipv4(struct walk *w, struct flow *flow)
{
	struct ipv4 *ip = TAKE(w, struct ipv4);
	if (!ip || ip->version_len >> 4 != 4)
		return -1;
	u32 words = ip->version_len & 15;
	if (words < 5)
		return -1;
	w->at += (words - 5) * 4;
	if (w->at > w->end || ip->ttl <= 1 || ip->frag & net16(0x1fff))
		return -1;
	flow->from = ip->from;
	flow->to = ip->to;
	return ip->proto;
}

INLINE int parse_ipv6(struct walk *w, struct flow *flow)
{
	struct ipv6 *ip = TAKE(w, struct ipv6);
	if (!ip)
		return -1;
	flow->from = fold6(ip->from);
	flow->to = fold6(ip->to);
	u8 next = ip->next;
#pragma unroll
	for (int i = 0; i < 3; i++) {
		if (next != IP_HOPOPTS && next != 43 && next != 60)
			break;
		u8 *opt = w->at;
		if (opt + 2 > w->end)
			return -1;
		next = opt[0];
		w->at += 8 + (opt[1] & 7) * 8;
	}
	return w->at > w->end ? -1 : next;
}

SEC("xdp")
int parse(struct xdp_md *ctx)
{
	struct walk w = { (void *)(long)ctx->data, (void *)(long)ctx->data_end };
	u64 bytes = w.end - w.at;
	struct flow flow = {};

	struct eth *eth = TAKE(&w, struct eth);
	if (!eth)
		return verdict(XDP_DROP);
	u16 proto = eth->proto;
#pragma unroll
	for (int i = 0; i < 2; i++) {
		if (proto != net16(ETH_VLAN) && proto != net16(ETH_QINQ))
			break;
		struct vlan *vlan = TAKE(&w, struct vlan);
		if (!vlan)
			return verdict(XDP_DROP);
		proto = vlan->proto;
	}

	int l4;
	if (proto == net16(ETH_IPV4))
		l4 = parse_ipv4(&w, &flow);
	else if (proto == net16(ETH_IPV6))
		l4 = parse_ipv6(&w, &flow);
	else
		return verdict(XDP_PASS);
	if (l4 < 0)
		return verdict(XDP_ABORTED);

	flow.proto = l4;
	if (l4 == IP_TCP || l4 == IP_UDP) {
		struct ports *ports = TAKE(&w, struct ports);
		if (!ports)
			return verdict(XDP_DROP);
		flow.from_port = ports->from;
		flow.to_port = ports->to;
	}

	struct count *count = map_lookup(&flows, &flow);
	if (count) {
		count->packets += 1;
		count->bytes += bytes;
	} else {
		struct count first = { 1, bytes };
		map_update(&flows, &flow, &first, 0);
	}

	if (l4 == IP_UDP && flow.to_port == net16(7)) {
#pragma unroll
		for (int i = 0; i < 6; i++) {
			u8 byte = eth->to[i];
			eth->to[i] = eth->from[i];
			eth->from[i] = byte;
		}
		return verdict(XDP_TX);
	}
	return verdict(XDP_PASS);
}

/* Puts a 4-byte tag before the packet, or takes one away. */
SEC("xdp")
int retag(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	u8 *p = data;
	if (p + 18 > (u8 *)end)
		return XDP_DROP;
	int tagged = p[12] == 0x81 && p[13] == 0;
	if (xdp_adjust_head(ctx, tagged ? 4 : -4))
		return XDP_ABORTED;
	p = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if (p + 14 > (u8 *)end)
		return XDP_ABORTED;
	p[12] = tagged ? 8 : 0x81;
	p[13] = 0;
	return tagged ? XDP_PASS : XDP_TX;
}

LICENSE("GPL");
