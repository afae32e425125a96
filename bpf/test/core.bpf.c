// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// CO-RE: fields that are looked up in the running kernel's BTF when the object is loaded.
#include "counter.h"
#include <bpf/bpf_core_read.h>

struct task_struct {
	int pid;
	int tgid;
	struct task_struct *real_parent;
} __attribute__((preserve_access_index));

COUNTER(last_tgid);
COUNTER(last_parent);
COUNTER(counter);

// Writes the process id of the caller and of its parent, as the kernel's structures have them.
SEC("tracepoint/syscalls/sys_enter_openat")
int core_tracepoint(void *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	set(&last_tgid, BPF_CORE_READ(task, tgid));
	set(&last_parent, BPF_CORE_READ(task, real_parent, tgid));
	return 0;
}

// Adds 1 when the kernel has the field and 1000 when it has not.
SEC("xdp")
int core_xdp(struct xdp_md *ctx)
{
	count(&counter, bpf_core_field_exists(struct task_struct, tgid) ? 1 : 1000);
	return XDP_PASS;
}

// As core_xdp.
SEC("tc")
int core_tc(struct __sk_buff *skb)
{
	count(&counter, bpf_core_field_exists(struct task_struct, tgid) ? 1 : 1000);
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
