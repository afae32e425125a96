// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Calls between BPF functions: a static one and a global one, both in .text.
#include "counter.h"

volatile const __s32 verdict = XDP_PASS;

COUNTER(counter);

static __attribute__((noinline)) void static_function(__u64 by)
{
	count(&counter, by);
}

__attribute__((noinline)) int global_function(int number)
{
	static_function(1);
	return number;
}

SEC("xdp")
int calls_xdp(struct xdp_md *ctx)
{
	return global_function(verdict);
}

SEC("tc")
int calls_tc(struct __sk_buff *skb)
{
	return global_function(verdict);
}

SEC("tracepoint/syscalls/sys_enter_openat")
int calls_tracepoint(void *ctx)
{
	global_function(0);
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
