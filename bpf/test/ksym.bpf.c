// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Addresses of kernel symbols by their names in kallsyms: one that is there and one that is not.
#include "counter.h"

extern const void bpf_prog_put __ksym;
extern const void bpfman_no_such_symbol __ksym __weak;

COUNTER(address);

// Leaves the address of bpf_prog_put that /proc/kallsyms shows.
SEC("tracepoint/syscalls/sys_enter_openat")
int ksym(void *ctx)
{
	set(&address, (__u64)&bpf_prog_put + (__u64)&bpfman_no_such_symbol);
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
