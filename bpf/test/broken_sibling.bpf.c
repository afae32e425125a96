// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// A program that the verifier rejects beside one that it takes: only the chosen one may matter.
#include "counter.h"

COUNTER(counter);

SEC("xdp")
int good(struct xdp_md *ctx)
{
	count(&counter, 1);
	return XDP_PASS;
}

// Reads through a number.
SEC("xdp")
int broken(struct xdp_md *ctx)
{
	return *(int *)(long)ctx->data_end;
}

char _license[] SEC("license") = "Dual BSD/GPL";
