// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Counts packets and returns the verdict that it was loaded with.
#include "counter.h"

volatile const __s32 verdict = XDP_PASS;

COUNTER(counter);

SEC("xdp")
int xdp_verdict(struct xdp_md *ctx)
{
	count(&counter, 1);
	return verdict;
}

char _license[] SEC("license") = "Dual BSD/GPL";
