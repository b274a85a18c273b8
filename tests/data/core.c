/* CO-RE: fields, existence, sizes, enum values and type ids taken from the running kernel. */
#include "bpf.h"

struct task_struct {
	int pid;
	int tgid;
	struct task_struct *group_leader;
	struct task_struct *real_parent;
	unsigned int flags;
	char comm[16];
} CORE;

struct mm_struct___nowhere {
	int no_such_field;
} CORE;

enum bpf_map_type___here {
	BPF_MAP_TYPE_HASH___here = 1,
	BPF_MAP_TYPE_ARRAY___here = 99,
	BPF_MAP_TYPE_NOWHERE___here = 100,
};

enum { FIELD_BYTE_SIZE = 1, FIELD_EXISTS = 2 };
#define field_exists(x) __builtin_preserve_field_info(x, FIELD_EXISTS)
#define field_size(x) __builtin_preserve_field_info(x, FIELD_BYTE_SIZE)
#define type_exists(t) __builtin_preserve_type_info(*(t *)0, 0)
#define type_size(t) __builtin_preserve_type_info(*(t *)0, 1)
#define enum_exists(t, v) __builtin_preserve_enum_value(*(typeof(t) *)v, 0)
#define enum_value(t, v) __builtin_preserve_enum_value(*(typeof(t) *)v, 1)
#define type_id_local(t) __builtin_btf_type_id(*(t *)0, 0)
#define type_id_kernel(t) __builtin_btf_type_id(*(t *)0, 1)

struct {
	UINT(type, MAP_ARRAY);
	UINT(max_entries, 8);
	TYPE(key, u32);
	TYPE(value, u64);
} found SEC(".maps");

INLINE void note(u32 key, u64 value)
{
	map_update(&found, &key, &value, 0);
}

/* What the kernel's types look like: the same on every run. */
SEC("raw_tracepoint/sys_enter")
int shape(u64 *args)
{
	struct task_struct *task = get_current_task_btf();
	note(0, field_exists(task->comm) * 2 + field_size(task->comm));
	note(1, field_exists(((struct mm_struct___nowhere *)0)->no_such_field));
	note(2, type_exists(struct task_struct) + 2 * type_exists(struct mm_struct___nowhere));
	note(3, type_size(struct task_struct));
	note(4, enum_exists(enum bpf_map_type___here, BPF_MAP_TYPE_ARRAY___here) +
			2 * enum_exists(enum bpf_map_type___here, BPF_MAP_TYPE_NOWHERE___here));
	note(5, enum_value(enum bpf_map_type___here, BPF_MAP_TYPE_ARRAY___here));
	note(6, type_id_local(struct task_struct));
	note(7, type_id_kernel(struct task_struct));
	return args[0] & 0xff;
}

/* The task that runs the test, by direct and by probed reads. */
SEC("raw_tracepoint/sys_enter")
int task(u64 *args)
{
	struct task_struct *task = get_current_task_btf(), *parent;
	u64 id = get_current_pid_tgid();
	u32 parent_tgid = 0;
	int same = task->pid == (u32)id;
	same += task->tgid == id >> 32;
	same += 2 * (task->group_leader->tgid == task->tgid);
	if (!probe_read_kernel(&parent, sizeof(parent), &task->real_parent))
		probe_read_kernel(&parent_tgid, sizeof(parent_tgid), &parent->tgid);
	if (parent_tgid)
		same += 8;
	if (field_exists(((struct mm_struct___nowhere *)0)->no_such_field))
		same += ((struct mm_struct___nowhere *)task)->no_such_field;
	return same + (args[1] & 7) * 16;
}

LICENSE("GPL");
