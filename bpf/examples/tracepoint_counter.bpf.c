// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Counts calls of openat, and context switches for kernels without system call tracepoints.
#include "counter.h"

COUNTER(openat_count);
COUNTER(switch_count);

SEC("tracepoint/syscalls/sys_enter_openat")
int enter_openat(void *ctx)
{
	count(&openat_count, 1);
	return 0;
}

SEC("tracepoint/sched/sched_switch")
int sched_switch(void *ctx)
{
	count(&switch_count, 1);
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
