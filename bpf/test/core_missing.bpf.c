// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// CO-RE that no kernel satisfies: a field that does not exist, which the verifier then meets.
#include "counter.h"
#include <bpf/bpf_core_read.h>

struct task_struct {
	int no_such_field;
} __attribute__((preserve_access_index));

COUNTER(counter);

SEC("tracepoint/syscalls/sys_enter_openat")
int core_missing(void *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	set(&counter, BPF_CORE_READ(task, no_such_field));
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
