/* A spin lock in map values, and the BTF of the map that it needs. */
#include "bpf.h"

struct shared {
	struct bpf_spin_lock lock;
	u32 turn;
	u64 sum;
};

struct {
	UINT(type, MAP_ARRAY);
	UINT(max_entries, 2);
	TYPE(key, u32);
	TYPE(value, struct shared);
} cells SEC(".maps");

struct {
	UINT(type, MAP_HASH);
	UINT(max_entries, 16);
	UINT(map_flags, MAP_F_NO_PREALLOC);
	TYPE(key, u64);
	TYPE(value, u64);
} sparse SEC(".maps");

SEC("classifier")
int add(struct __sk_buff *skb)
{
	u32 key = skb->len & 1, turn;
	u64 sum, slot;
	struct shared *cell = map_lookup(&cells, &key);
	if (!cell)
		return TC_ACT_SHOT;
	spin_lock(&cell->lock);
	cell->turn += 1;
	cell->sum += skb->len;
	turn = cell->turn;
	sum = cell->sum;
	spin_unlock(&cell->lock);
	slot = sum & 7;
	map_update(&sparse, &slot, &sum, 0);
	if (turn == 3)
		map_delete(&sparse, &slot);
	skb->cb[0] = turn;
	skb->mark = sum;
	return turn & 3;
}

LICENSE("GPL");
