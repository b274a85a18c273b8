// Jump tables of several functions of one section, two of them of one function, and one of a function that nothing refers
// to. clang 22, -mcpu=v4.
#define SEC(x) __attribute__((section(x), used))
volatile int g;

static __attribute__((noinline)) int twice(unsigned x)
{
	switch (x) {
	case 0: g += 7; break;
	case 1: g *= 44; break;
	case 2: g ^= 0x51; break;
	case 3: g -= 118; break;
	case 4: g |= 155; break;
	case 5: g <<= 1; break;
	case 6: g >>= 2; break;
	case 7: g += 266; break;
	case 8: g *= 303; break;
	case 9: g ^= 0x154; break;
	case 10: g -= 377; break;
	case 11: g |= 414; break;
	case 12: g <<= 3; break;
	case 13: g >>= 4; break;
	default: return 7;
	}
	switch (x ^ g) {
	case 0: g += 8; break;
	case 1: g *= 45; break;
	case 2: g ^= 0x52; break;
	case 3: g -= 119; break;
	case 4: g |= 156; break;
	case 5: g <<= 1; break;
	case 6: g >>= 2; break;
	case 7: g += 267; break;
	case 8: g *= 304; break;
	case 9: g ^= 0x155; break;
	case 10: g -= 378; break;
	case 11: g |= 415; break;
	case 12: g <<= 3; break;
	default: return 8;
	}
	return g;
}

static __attribute__((noinline, used)) int unused(unsigned x)
{
	switch (x) {
	case 0: g += 9; break;
	case 1: g *= 46; break;
	case 2: g ^= 0x53; break;
	case 3: g -= 120; break;
	case 4: g |= 157; break;
	case 5: g <<= 1; break;
	case 6: g >>= 2; break;
	case 7: g += 268; break;
	case 8: g *= 305; break;
	case 9: g ^= 0x156; break;
	case 10: g -= 379; break;
	case 11: g |= 416; break;
	case 12: g <<= 3; break;
	case 13: g >>= 4; break;
	case 14: g += 527; break;
	default: return 9;
	}
	return 0;
}

__attribute__((noinline)) int global(unsigned x)
{
	switch (x) {
	case 0: g += 3; break;
	case 1: g *= 40; break;
	case 2: g ^= 0x4d; break;
	case 3: g -= 114; break;
	case 4: g |= 151; break;
	case 5: g <<= 1; break;
	case 6: g >>= 2; break;
	case 7: g += 262; break;
	case 8: g *= 299; break;
	case 9: g ^= 0x150; break;
	case 10: g -= 373; break;
	case 11: g |= 410; break;
	case 12: g <<= 3; break;
	case 13: g >>= 4; break;
	case 14: g += 521; break;
	case 15: g *= 558; break;
	default: return 3;
	}
	return g + 1;
}

SEC("tc") int sw(unsigned *s)
{
	return twice(s[0]) + global(s[1]);
}

char LICENSE[] SEC("license") = "GPL";
