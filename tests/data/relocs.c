/* CO-RE relocations of every kind: bit fields, arrays, members without names, flavours, enumerations. */
#include "bpf.h"

/* Each answer is a constant of its own in the program. */
struct task_struct {
	int prio;
	unsigned int sched_reset_on_fork:1;
	unsigned int in_execve:1;
	char comm[16];
	struct task_struct *parent;
	long __state;
	struct mm_struct *mm;
} CORE;

/* The same member with a type that is not compatible. */
struct task_struct___other {
	int comm;
	void *no_such;
	struct task_struct___other *parent;
} CORE;

struct sk_buff {
	unsigned char pkt_type:3;
	unsigned char cloned:1;
	unsigned int len;
	unsigned int csum;
	unsigned short protocol;
	unsigned int mark;
	unsigned char cb[48];
} CORE;

struct in6_addr {
	union {
		unsigned char u6_addr8[16];
		unsigned int u6_addr32[4];
	} in6_u;
} CORE;

struct list_head {
	struct list_head *next, *prev;
};

struct list_head___bad {
	struct list_head___bad *next;
	int prev;
};

union bpf_attr___some {
	int no_such;
} CORE;

typedef int pid_t;
typedef int no_such_t;
struct no_such_struct {
	int a;
} CORE;

enum pid_type {
	PIDTYPE_PID = 7,
	PIDTYPE_TGID = 9,
	PIDTYPE_NONE = 11,
};

enum bpf_prog_type___small {
	BPF_PROG_TYPE_XDP___small,
};

#define info(x, kind) __builtin_preserve_field_info(x, kind)
#define type_info(t, kind) __builtin_preserve_type_info(*(t *)0, kind)
#define enum_info(t, v, kind) __builtin_preserve_enum_value(*(t *)v, kind)
#define ALL(x) \
	(info(x, 0) + 3 * info(x, 1) + 5 * info(x, 2) + 7 * info(x, 3) + 11 * info(x, 4) + 13 * info(x, 5))
#define SOME(x) (info(x, 0) + 3 * info(x, 1) + 5 * info(x, 2))
#define TYPE_(t) \
	(type_info(t, 0) + 3 * type_info(t, 1) + 5 * type_info(t, 2) + __builtin_btf_type_id(*(t *)0, 0) + \
	 7 * __builtin_btf_type_id(*(t *)0, 1))
#define VALUE(t, v) (enum_info(t, v, 0) + 3 * enum_info(t, v, 1))

SEC("raw_tracepoint/sys_enter")
int fields(u64 *args)
{
	struct task_struct *task = (void *)args[0];
	struct sk_buff *skb = (void *)args[0];
	u64 sum = ALL(task->prio) + ALL(task->sched_reset_on_fork) + ALL(task->in_execve) + SOME(task->comm);

	sum += SOME(task->parent) + ALL(task->__state) + SOME(task->mm);
	sum += ALL(skb->pkt_type) + ALL(skb->cloned) + ALL(skb->len) + ALL(skb->csum) + ALL(skb->protocol);
	sum += ALL(skb->mark) + SOME(skb->cb);
	return sum;
}

SEC("raw_tracepoint/sys_enter")
int places(u64 *args)
{
	struct task_struct *task = (void *)args[0];
	struct in6_addr *address = (void *)args[0];
	u64 sum = info(task->comm[3], 0) + info(task->comm[3], 1) + info(task->comm[3], 2);

	sum += info(address->in6_u.u6_addr32[2], 0) + info(address->in6_u.u6_addr32[2], 1);
	sum += info(address[3].in6_u.u6_addr8[5], 0) + info(task[2].comm[15], 0);
	sum += info(((struct task_struct___other *)task)->comm, 2);
	sum += info(((struct task_struct___other *)task)->no_such, 2);
	sum += info(((struct task_struct___other *)task)->parent, 2);
	sum += info(((union bpf_attr___some *)task)->no_such, 2);
	sum += info(((struct no_such_struct *)task)->a, 2);
	return sum;
}

SEC("raw_tracepoint/sys_enter")
int types(u64 *args)
{
	u64 sum = TYPE_(struct sk_buff) + TYPE_(struct in6_addr) + TYPE_(struct no_such_struct) + TYPE_(pid_t);

	sum += TYPE_(no_such_t) + TYPE_(enum pid_type) + TYPE_(struct list_head) + TYPE_(struct list_head___bad);
	sum += TYPE_(struct task_struct___other) + TYPE_(union bpf_attr___some);
	return sum;
}

SEC("raw_tracepoint/sys_enter")
int enumerators(u64 *args)
{
	return VALUE(enum pid_type, PIDTYPE_PID) + VALUE(enum pid_type, PIDTYPE_TGID) +
	       enum_info(enum pid_type, PIDTYPE_NONE, 0) +
	       VALUE(enum bpf_prog_type___small, BPF_PROG_TYPE_XDP___small);
}

/* What has no answer: no verifier accepts it. */
SEC("?raw_tracepoint/sys_enter")
int missing(u64 *args)
{
	struct task_struct___other *task = (void *)args[0];

	return info(task->no_such, 0) + info(task->comm, 1) + enum_info(enum pid_type, PIDTYPE_NONE, 1);
}

LICENSE("GPL");
