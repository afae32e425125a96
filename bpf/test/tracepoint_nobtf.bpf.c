// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// A tracepoint program without BTF.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

__u64 calls;

SEC("tracepoint/syscalls/sys_enter_openat")
int tracepoint_nobtf(void *ctx)
{
	__sync_fetch_and_add(&calls, 1);
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
