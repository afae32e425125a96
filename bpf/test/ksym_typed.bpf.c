// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// A per-CPU variable of the kernel, found through BTF. Needs CONFIG_KALLSYMS_ALL.
#include "counter.h"

extern const int bpf_prog_active __ksym;

COUNTER(active);

// Leaves 1 + the value.
SEC("tracepoint/syscalls/sys_enter_openat")
int ksym_typed(void *ctx)
{
	set(&active, 1 + *(int *)bpf_this_cpu_ptr(&bpf_prog_active));
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
