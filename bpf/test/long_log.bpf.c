// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// A rejection after many steps: the verifier's log is long and only its end says why.
#include "counter.h"

COUNTER(counter);

SEC("xdp")
int long_log(struct xdp_md *ctx)
{
	__u8 *data = (void *)(long)ctx->data;
	int i;

	for (i = 0; i < 2000; i++)
		count(&counter, i);
	return data[12] ? XDP_PASS : XDP_DROP;
}

char _license[] SEC("license") = "Dual BSD/GPL";
