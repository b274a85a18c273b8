/* Every atomic of -mcpu=v3, on both widths. */
#include "bpf.h"

u32 word = 100;
u64 wide = 1000;
u64 results[8];

SEC("classifier")
int atomics(struct __sk_buff *skb)
{
	u32 len = skb->len;
	__sync_fetch_and_add(&word, len);
	u32 a = __sync_fetch_and_add(&word, 3);
	u64 b = __sync_fetch_and_add(&wide, len);
	u32 c = __sync_fetch_and_or(&word, 0x10);
	u64 d = __sync_fetch_and_and(&wide, 0xffff);
	u32 e = __sync_fetch_and_xor(&word, len << 4);
	u64 f = __sync_lock_test_and_set(&wide, b ^ len);
	u32 g = __sync_val_compare_and_swap(&word, e ^ len << 4, a + 1);
	u64 h = __sync_val_compare_and_swap(&wide, b, 5);
	results[0] = a;
	results[1] = b;
	results[2] = c;
	results[3] = d;
	results[4] = e;
	results[5] = f;
	results[6] = g;
	results[7] = h;
	skb->mark = word;
	skb->cb[0] = wide;
	return (g + h) & 3;
}

LICENSE("GPL");
