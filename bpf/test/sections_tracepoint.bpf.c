// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Section names that mean a tracepoint program, with and without a tracepoint.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("tp")
int s_tp(void *ctx)
{
	return 0;
}

SEC("tracepoint")
int s_tracepoint(void *ctx)
{
	return 0;
}

SEC("tp/syscalls/sys_enter_openat")
int s_tp_syscalls_sys_enter_openat(void *ctx)
{
	return 0;
}

SEC("tracepoint/syscalls/sys_enter_openat")
int s_tracepoint_syscalls_sys_enter_openat(void *ctx)
{
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
