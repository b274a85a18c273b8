/* tc classifiers, several in one section: they read and write the fields of the socket buffer. */
#include "packet.h"

struct {
	UINT(type, MAP_ARRAY);
	UINT(max_entries, 16);
	TYPE(key, u32);
	TYPE(value, u64);
} seen SEC(".maps");

SEC("classifier")
int mark(struct __sk_buff *skb)
{
	u32 len = skb->len;
	skb->mark = len * 0x9e3779b1u;
	skb->priority = len & 7;
	if (skb->protocol == net16(ETH_IPV6))
		skb->mark ^= 0x66660000;
	for (u32 i = 0; i < 5; i++)
		skb->cb[i] = len + i * 0x01010101;
	u32 key = len & 15;
	u64 *n = map_lookup(&seen, &key);
	if (n)
		__sync_fetch_and_add(n, len);
	return len > 100 ? TC_ACT_OK : TC_ACT_SHOT;
}

SEC("classifier")
int narrow(struct __sk_buff *skb)
{
	/* Loads narrower than their field: the kernel widens each, then shifts and masks. */
	u8 *mark = (void *)&skb->mark;
	u16 *len = (void *)&skb->len;
	u16 *prio = (void *)&skb->priority;
	u32 sum = *(volatile u8 *)mark + *(volatile u16 *)len;
	sum += *(volatile u16 *)prio;
	sum += *(volatile u8 *)&((u8 *)&skb->cb[2])[0];
	skb->cb[0] = sum;
	skb->tc_classid = sum >> 3;
	return sum & 3;
}

SEC("classifier")
int rewrite(struct __sk_buff *skb)
{
	u8 *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	if (data + 34 > end)
		return TC_ACT_SHOT;
	u32 sum = 0;
#pragma unroll
	for (int i = 0; i < 10; i++)
		sum += data[14 + 2 * i] << 8 | data[15 + 2 * i];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	data[0] ^= 0xff;
	data[5] = sum;
	skb->mark = sum;
	u16 word = net16(0xbeef);
	if (skb_store_bytes(skb, 6, &word, 2, 0))
		return TC_ACT_UNSPEC;
	return sum == 0xffff ? TC_ACT_OK : TC_ACT_PIPE;
}

SEC("cgroup_skb/egress")
int egress(struct __sk_buff *skb)
{
	u32 first = 0;
	if (skb_load_bytes(skb, 0, &first, sizeof(first)))
		return 0;
	skb->cb[1] = first;
	return (first ^ skb->len) & 1;
}

SEC("socket")
int filter(struct __sk_buff *skb)
{
	u8 head[20];
	if (skb_load_bytes(skb, 0, head, sizeof(head)))
		return 0;
	u32 sum = 0;
	for (u32 i = 0; i < sizeof(head); i++)
		sum = sum * 31 + head[i];
	return sum % 1500;
}

LICENSE("GPL");
