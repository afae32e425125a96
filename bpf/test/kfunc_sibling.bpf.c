// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// A program that calls a function no kernel has, beside one that does not: only the chosen one
// may matter.
#include "counter.h"

extern void bpfman_no_such_kfunc(void) __ksym;

COUNTER(counter);

SEC("xdp")
int good(struct xdp_md *ctx)
{
	count(&counter, 1);
	return XDP_PASS;
}

SEC("xdp")
int insists(struct xdp_md *ctx)
{
	bpfman_no_such_kfunc();
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
