/* Callbacks: bpf_loop and bpf_for_each_map_elem, one nested in another. */
#include "bpf.h"

struct {
	UINT(type, MAP_ARRAY);
	UINT(max_entries, 8);
	TYPE(key, u32);
	TYPE(value, u64);
} cells SEC(".maps");

struct sum {
	u64 total;
	u32 limit;
	u32 rounds;
};

static long add(u32 i, struct sum *sum)
{
	sum->total += i * 7 + (i & 3);
	sum->rounds++;
	return sum->total > sum->limit;
}

static long outer(u32 i, struct sum *sum)
{
	struct sum inner = { .limit = 50 + i };
	loop(10, add, &inner, 0);
	sum->total += inner.total;
	sum->rounds += inner.rounds;
	return 0;
}

static long visit(void *map, u32 *key, u64 *value, struct sum *sum)
{
	*value += *key + sum->limit;
	sum->total += *value;
	return *key == 6;
}

SEC("classifier")
int loop_once(struct __sk_buff *skb)
{
	struct sum sum = { .limit = skb->len * 4 };
	long n = loop(skb->len, add, &sum, 0);
	skb->cb[0] = sum.total;
	skb->cb[1] = sum.rounds;
	skb->mark = n;
	return 0;
}

SEC("classifier")
int loop_nested(struct __sk_buff *skb)
{
	struct sum sum = { .limit = 1 };
	loop(skb->len & 31, outer, &sum, 0);
	skb->cb[0] = sum.total;
	skb->cb[1] = sum.rounds;
	return sum.total & 1;
}

SEC("xdp")
int each(struct xdp_md *ctx)
{
	struct sum sum = { .limit = ctx->data_end - ctx->data };
	long n = for_each_map_elem(&cells, visit, &sum, 0);
	return (n + sum.total) & 3;
}

LICENSE("GPL");
