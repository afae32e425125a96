// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Appends its tag to a shared trace, which proves the order of a chain.
#include "trace.h"

volatile const __s32 verdict = XDP_PASS;

SEC("xdp")
int xdp_trace(struct xdp_md *ctx)
{
	stamp();
	return verdict;
}

char _license[] SEC("license") = "Dual BSD/GPL";
