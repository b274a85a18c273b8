/* Kernel functions and variables by name: calls that are relocated, never displaced. */
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

LICENSE("GPL");
