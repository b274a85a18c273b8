/* Code that is never run, in every place where deleting it is delicate: beside map references, calls,
 * CO-RE records and callbacks, inside loops, at both ends of .text, and functions used by nothing else. */
#include "packet.h"

struct task_struct {
	int pid;
	int tgid;
	unsigned int flags;
} CORE;

struct {
	UINT(type, MAP_ARRAY);
	UINT(max_entries, 8);
	TYPE(key, u32);
	TYPE(value, u64);
} cells SEC(".maps");

struct {
	UINT(type, MAP_HASH);
	UINT(max_entries, 8);
	TYPE(key, u32);
	TYPE(value, u64);
} unused_map SEC(".maps");

u64 runs = 1;
u64 never;

/* Branches that clang must keep, as it does not see that they are constant. */
#define NEVER(label) asm volatile goto("r1 = 7; if r1 != 7 goto %l0" : : : "r1" : label)
#define NEVER32(label) asm volatile goto("w2 = 5; if w2 > 9 goto %l0" : : : "r2" : label)
#define NEVER_WIDE(label) \
	asm volatile goto("r3 = 0x123456789a ll; if r3 s< 0 goto %l0" : : : "r3" : label)
#define ALWAYS(label) asm volatile goto("r4 = -1; if r4 s< 1 goto %l0" : : : "r4" : label)

/* Nothing refers to these two: they go, and with them the only call of the second. */
static NOINLINE SEC(".text") u64 orphan_first(u64 x)
{
	OPAQUE(x);
	return x * 5 + never;
}

static NOINLINE u64 used_by_dead_code(u64 x)
{
	u32 key = x & 7;
	OPAQUE(x);
	u64 *cell = map_lookup(&unused_map, &key);
	return cell ? *cell : x;
}

static NOINLINE u64 live(u64 x)
{
	u32 key = x & 7;
	NEVER(dead);
	u64 *cell = map_lookup(&cells, &key);
	if (cell)
		x += ++*cell;
	return x;
dead:
	map_update(&unused_map, &key, &x, 0);
	return used_by_dead_code(x) + 1;
}

static NOINLINE SEC(".text") u64 orphan_calls_orphan(u64 x)
{
	return orphan_first(x) + live(x);
}

struct sum {
	u64 total;
	u32 rounds;
};

static long dead_callback(u32 i, struct sum *sum)
{
	sum->total += i * 3;
	return 0;
}

static long live_callback(u32 i, struct sum *sum)
{
	NEVER32(dead);
	sum->total += live(i);
	sum->rounds++;
	return sum->total > 200;
dead:
	never += i;
	loop(3, dead_callback, sum, 0);
	return 1;
}

SEC("classifier")
int holes(struct __sk_buff *skb)
{
	u32 sum = skb->len;
	ALWAYS(start);
	sum = used_by_dead_code(sum);
	skb->cb[4] = sum;
start:
	/* Jumps back over holes, and out of the loop over another. */
	for (u32 i = 0; i < 6; i++) {
		NEVER(dead);
		sum = sum * 31 + i;
		if ((sum & 63) == 1) {
			NEVER32(dead);
			break;
		}
		NEVER_WIDE(dead_too);
		OPAQUE(sum);
		runs += sum & 1;
		continue;
dead_too:
		runs = sum + used_by_dead_code(i);
		if (runs & 1)
			sum ^= 1;
	}
	skb->mark = sum;
	skb->cb[0] = live(sum);
	return sum & 3;
dead:
	never = sum;
	skb->cb[1] = 99;
	return TC_ACT_SHOT;
}

SEC("classifier")
int callbacks(struct __sk_buff *skb)
{
	struct sum sum = { .total = skb->len & 7 };
	NEVER_WIDE(dead);
	loop(skb->len & 31, live_callback, &sum, 0);
	skb->cb[0] = sum.total;
	skb->cb[1] = sum.rounds;
	return sum.rounds & 3;
dead:
	loop(5, dead_callback, &sum, 0);
	return TC_ACT_SHOT;
}

/* CO-RE records in dead code go; those in what is left keep their instructions. */
SEC("raw_tracepoint/sys_enter")
int records(u64 *args)
{
	struct task_struct *task = get_current_task_btf();
	u64 id = get_current_pid_tgid();
	NEVER(dead);
	u32 same = task->pid == (u32)id;
	NEVER32(dead);
	ALWAYS(after);
	same = task->flags;
after:
	return same + 2 * (task->tgid == id >> 32) + (args[0] & 31) * 4;
dead:
	return task->flags + __builtin_preserve_field_info(task->tgid, 1);
}

/* All that is left of a way through is a jump: then that goes as well. */
SEC("xdp")
int gotos(struct xdp_md *ctx)
{
	u8 *p = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	u32 result = XDP_PASS;
	if (p + 14 > end)
		return XDP_DROP;
	asm volatile("r5 = 3;"
		     "if r5 == 3 goto +2;"
		     "r5 = 4;"
		     "r5 += %[r];"
		     "if r5 == 3 goto 1f;"
		     "%[r] = 0;"
		     "goto 2f;"
		     "1: if r5 s> 3 goto 3f;"
		     "goto 4f;"
		     "2: r5 = 100;"
		     "%[r] += r5;"
		     "3: %[r] = 77;"
		     "4: goto +0;"
		     "if r5 > 5 goto 2b;"
		     : [r] "+r"(result)
		     :
		     : "r5");
	p[0] ^= p[13];
	return p[13] & 1 ? result : XDP_TX;
}

static NOINLINE SEC(".text") u64 orphan_last(u64 x)
{
	OPAQUE(x);
	return x ^ live(x);
}

LICENSE("GPL");
