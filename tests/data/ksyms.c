/* What only libbpf loads: kernel functions by name, whose calls are relocated and never displaced,
 * a kernel configuration value, and a program array that the object itself fills. */
#include "bpf.h"

struct task_struct {
	int pid;
	int tgid;
} CORE;

extern struct task_struct *bpf_task_from_pid(s32 pid) KSYM;
extern void bpf_task_release(struct task_struct *task) KSYM;
extern void bpf_rcu_read_lock(void) KSYM;
extern void bpf_rcu_read_unlock(void) KSYM;
extern int LINUX_KERNEL_VERSION KCONFIG;

static NOINLINE int tgid_of(int pid)
{
	struct task_struct *task = bpf_task_from_pid(pid);
	if (!task)
		return -1;
	int tgid = task->tgid;
	bpf_task_release(task);
	return tgid;
}

SEC("syscall")
int lookup(u32 *args)
{
	u64 id = get_current_pid_tgid();
	int same = tgid_of((u32)id) == (int)(id >> 32);
	bpf_rcu_read_lock();
	same += args[0] & 0xff;
	bpf_rcu_read_unlock();
	if (LINUX_KERNEL_VERSION < 0x50000)
		same += 1000;
	return same * 2 + (tgid_of(-5) == -1);
}

int chosen(struct __sk_buff *skb);

struct {
	UINT(type, MAP_PROG_ARRAY);
	UINT(max_entries, 2);
	UINT(key_size, 4);
	ARRAY(values, int(void *));
} table SEC(".maps") = {
	.values = { [1] = (void *)&chosen },
};

SEC("classifier")
int chosen(struct __sk_buff *skb)
{
	skb->mark = skb->len + 3;
	return TC_ACT_PIPE;
}

SEC("classifier")
int choose(struct __sk_buff *skb)
{
	tail_call(skb, &table, skb->len & 1);
	return TC_ACT_OK;
}

LICENSE("GPL");
