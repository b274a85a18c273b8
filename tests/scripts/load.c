// Loads BPF objects with libbpf and says, per program, what the kernel answers.
//
//   gcc -O2 -o load load.c -lbpf
//   load [-r] OBJECT...
//
// One tab-separated line per object (program "*": all its programs at once) and per program, each
// loaded alone so that one refusal does not hide the others:
//   object  program  ok|errno  verified-insns  outcome  message
// With -r, every program that BPF_PROG_TEST_RUN takes is run on a few fixed inputs; the outcome is
// its return values and a digest of all that it wrote to packet, context and array maps.
#define _GNU_SOURCE
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { INPUTS = 8, PACKET = 2048, SECONDS = 60 };

static char last_line[512]; // the last thing libbpf said: it prints the verifier's log that way
static char verifier_line[512];

static void remember(char *to, size_t size, const char *from, size_t len)
{
	if (len >= size)
		len = size - 1;
	memcpy(to, from, len);
	to[len] = 0;
	for (char *p = to; *p; p++)
		if (*p == '\t')
			*p = ' ';
}

static int on_print(enum libbpf_print_level level, const char *format, va_list args)
{
	static char text[1 << 20];
	if (level != LIBBPF_WARN)
		return 0;
	vsnprintf(text, sizeof(text), format, args);
	int is_log = strstr(text, "BEGIN PROG LOAD LOG") != NULL;
	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
		size_t len = strlen(line);
		if (!len)
			continue;
		int dull = strstr(line, "PROG LOAD LOG") || !strncmp(line, "processed ", 10) ||
			   strstr(line, "failed to load") || strstr(line, "ulimit -l");
		if (is_log && !dull)
			remember(verifier_line, sizeof(verifier_line), line, len);
		if (!dull)
			remember(last_line, sizeof(last_line), line, len);
	}
	return 0;
}

static uint64_t fnv(uint64_t hash, const void *bytes, size_t len)
{
	const unsigned char *p = bytes;
	for (size_t i = 0; i < len; i++)
		hash = (hash ^ p[i]) * 0x100000001b3ull;
	return hash;
}

// Packet `i`: Ethernet with IPv4 or IPv6, TCP or UDP, of varied length; the rest is a fixed pattern.
static size_t packet(int i, unsigned char *p)
{
	static const size_t lengths[INPUTS] = { 64, 60, 98, 130, 256, 1000, 65, 1400 };
	size_t len = lengths[i];
	for (size_t k = 0; k < len; k++)
		p[k] = (unsigned char)(k * 37 + i * 11 + (k >> 3));
	memcpy(p, "\2\0\0\0\0\1\2\0\0\0\0\2", 12);
	p[2] = i, p[3] = i >> 1;
	if (i == 2 || i == 4) {
		memcpy(p + 12, "\x86\xdd\x60\0\0\0", 6);
		p[18] = 0, p[19] = (unsigned char)(len - 54);
		p[20] = i == 2 ? 6 : 17;
	} else if (i != 7) {
		memcpy(p + 12, "\x08\0\x45\0", 4);
		p[16] = (len - 14) >> 8, p[17] = (unsigned char)(len - 14);
		p[20] = p[21] = 0;
		p[22] = 64;
		p[23] = i & 1 ? 17 : 6;
		p[36] = 0, p[37] = 7;
	} else {
		memcpy(p + 12, "\x81\0\0\5\x08\0\x45\0", 8);
		p[24] = p[25] = 0, p[26] = 64, p[27] = 6;
	}
	return len;
}

static int takes_packet(enum bpf_prog_type type)
{
	return type == BPF_PROG_TYPE_XDP || type == BPF_PROG_TYPE_SCHED_CLS ||
	       type == BPF_PROG_TYPE_SCHED_ACT || type == BPF_PROG_TYPE_SOCKET_FILTER ||
	       type == BPF_PROG_TYPE_CGROUP_SKB || type == BPF_PROG_TYPE_FLOW_DISSECTOR;
}

static void run(struct bpf_object *object, struct bpf_program *prog, char *out, size_t size)
{
	enum bpf_prog_type type = bpf_program__type(prog);
	int packets = takes_packet(type);
	int has_ctx = type == BPF_PROG_TYPE_SCHED_CLS || type == BPF_PROG_TYPE_SCHED_ACT ||
		      type == BPF_PROG_TYPE_CGROUP_SKB;
	uint64_t digest = 0xcbf29ce484222325ull;
	size_t used = 0;
	if (!packets && type != BPF_PROG_TYPE_RAW_TRACEPOINT && type != BPF_PROG_TYPE_SYSCALL) {
		snprintf(out, size, "-");
		return;
	}
	cpu_set_t first; // programs can tell on which CPU they run
	CPU_ZERO(&first);
	CPU_SET(0, &first);
	sched_setaffinity(0, sizeof(first), &first);
	for (int i = 0; i < INPUTS; i++) {
		unsigned char in[PACKET], data[PACKET] = {};
		struct __sk_buff skb = { .mark = i, .priority = i * 3, .cb = { i, 1, 2 } }, skb_out = {};
		uint64_t args[12] = { i, i * 3 + 1, 1ull << i, 5, 7 };
		LIBBPF_OPTS(bpf_test_run_opts, opts);
		if (packets) {
			opts.data_in = in;
			opts.data_size_in = packet(i, in);
			opts.data_out = data;
			opts.data_size_out = sizeof(data);
			if (has_ctx) {
				opts.ctx_in = &skb, opts.ctx_size_in = sizeof(skb);
				opts.ctx_out = &skb_out, opts.ctx_size_out = sizeof(skb_out);
			}
		} else {
			if (type == BPF_PROG_TYPE_SYSCALL)
				args[0] = i % 5 | (uint64_t)i << 32;
			opts.ctx_in = args, opts.ctx_size_in = sizeof(args); // a syscall program writes back
		}
		int err = bpf_prog_test_run_opts(bpf_program__fd(prog), &opts);
		used += snprintf(out + used, used < size ? size - used : 0, "%s%d", i ? "," : "",
				 err ? err : (int)opts.retval);
		digest = fnv(digest, data, opts.data_size_out < PACKET ? opts.data_size_out : PACKET);
		digest = fnv(digest, &skb_out, sizeof(skb_out));
		digest = fnv(digest, args, sizeof(args));
		if (used >= size)
			break;
	}
	struct bpf_map *map;
	bpf_object__for_each_map(map, object) {
		uint32_t value_size = bpf_map__value_size(map);
		if (bpf_map__type(map) != BPF_MAP_TYPE_ARRAY || bpf_map__fd(map) < 0)
			continue;
		unsigned char *value = calloc(1, value_size);
		for (uint32_t key = 0; key < bpf_map__max_entries(map) && key < 64; key++)
			if (!bpf_map_lookup_elem(bpf_map__fd(map), &key, value))
				digest = fnv(digest, value, value_size);
		free(value);
	}
	snprintf(out + used, used < size ? size - used : 0, ":%016llx", (unsigned long long)digest);
}

// Loads program number `only` of the object, or all that load by default if it is -1.
static void load(const char *path, int only, int do_run)
{
	char outcome[256] = "-";
	const char *name = "*";
	unsigned verified = 0;
	last_line[0] = verifier_line[0] = 0;
	struct bpf_object *object = bpf_object__open_file(path, NULL);
	int err = object ? 0 : -errno;
	struct bpf_program *prog, *chosen = NULL;
	if (object) {
		int i = 0;
		bpf_object__for_each_program(prog, object) {
			// The section's name tells no type: the selftests' own loaders give such
			// programs one, mostly this.
			if (bpf_program__type(prog) == BPF_PROG_TYPE_UNSPEC)
				bpf_program__set_type(prog, BPF_PROG_TYPE_SCHED_CLS);
			if (only >= 0)
				bpf_program__set_autoload(prog, i == only);
			if (i++ == only)
				chosen = prog;
		}
	}
	if (chosen)
		name = bpf_program__name(chosen);
	if (object)
		err = bpf_object__load(object);
	if (!err && chosen) {
		struct bpf_prog_info info = {};
		uint32_t len = sizeof(info);
		if (!bpf_obj_get_info_by_fd(bpf_program__fd(chosen), &info, &len))
			verified = info.verified_insns;
		if (do_run)
			run(object, chosen, outcome, sizeof(outcome));
	}
	const char *base = strrchr(path, '/');
	printf("%s\t%s\t", base ? base + 1 : path, name);
	if (err)
		printf("%d\t-\t-\t%s\n", err, verifier_line[0] ? verifier_line : last_line);
	else
		printf("ok\t%u\t%s\t\n", verified, outcome);
	fflush(stdout);
	bpf_object__close(object);
}

static int programs(const char *path)
{
	int n = 0;
	struct bpf_program *prog;
	struct bpf_object *object = bpf_object__open_file(path, NULL);
	if (!object)
		return 0;
	bpf_object__for_each_program(prog, object)
		n++;
	bpf_object__close(object);
	return n;
}

// In a child, so that neither a crash nor an endless load stops the rest.
static void guarded(const char *path, int only, int do_run)
{
	int status;
	fflush(stdout);
	pid_t child = fork();
	if (!child) {
		alarm(SECONDS);
		load(path, only, do_run);
		_exit(0);
	}
	if (child < 0 || waitpid(child, &status, 0) < 0 || !WIFEXITED(status)) {
		const char *base = strrchr(path, '/');
		printf("%s\t#%d\tkilled\t-\t-\tthe loader died or took over %d s\n",
		       base ? base + 1 : path, only, SECONDS);
	}
}

int main(int argc, char **argv)
{
	int first = 1, do_run = 0;
	if (argc > 1 && !strcmp(argv[1], "-r"))
		do_run = 1, first = 2;
	if (first == argc) {
		fprintf(stderr, "usage: load [-r] OBJECT...\n");
		return 2;
	}
	libbpf_set_print(on_print);
	for (int i = first; i < argc; i++) {
		int n = programs(argv[i]);
		guarded(argv[i], -1, 0);
		for (int only = 0; only < n; only++)
			guarded(argv[i], only, do_run);
	}
	return 0;
}
