// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Addresses of kernel symbols: one by its name in kallsyms, one typed by BTF, one that is absent.
#include "counter.h"

extern const void bpf_link_fops __ksym;
extern const int bpf_prog_active __ksym;
extern const void bpfman_no_such_symbol __ksym __weak;

COUNTER(address);
COUNTER(active);

// Leaves the address that /proc/kallsyms shows, and 1 + the value of a per-CPU variable.
SEC("tracepoint/syscalls/sys_enter_openat")
int ksym(void *ctx)
{
	set(&address, (__u64)&bpf_link_fops + (__u64)&bpfman_no_such_symbol);
	set(&active, 1 + *(int *)bpf_this_cpu_ptr(&bpf_prog_active));
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
