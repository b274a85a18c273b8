/* A syscall program: its context is a plain buffer that it reads and writes. */
#include "bpf.h"

struct args {
	u32 kind;
	u32 n;
	u64 in[4];
	u64 out[4];
};

struct {
	UINT(type, MAP_LRU_HASH);
	UINT(max_entries, 64);
	TYPE(key, u64);
	TYPE(value, u64);
} memo SEC(".maps");

static NOINLINE u64 isqrt(u64 x)
{
	u64 root = 0;
	for (int bit = 31; bit >= 0; bit--) {
		u64 next = root | 1ull << bit;
		if (next * next <= x)
			root = next;
	}
	return root;
}

SEC("syscall")
int compute(struct args *args)
{
	u64 key = args->in[0], value;
	switch (args->kind) {
	case 0:
		value = isqrt(key);
		break;
	case 1:
		value = key / (args->in[1] ? args->in[1] : 1) + key % (args->in[2] | 1);
		break;
	case 2:
		value = key << (args->n & 63) | key >> (-args->n & 63);
		break;
	case 3:
		value = (s64)key >> (args->n & 63);
		break;
	default:
		return -22;
	}
	u64 *old = map_lookup(&memo, &key);
	args->out[1] = old ? *old : 0xffffffffffffffffull;
	map_update(&memo, &key, &value, 0);
	args->out[0] = value;
	args->out[2] = __builtin_bswap64(value);
	return args->kind + 1;
}

LICENSE("GPL");
