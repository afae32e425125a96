// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Several programs: which one is meant has to be said, unless one only fits the type.
#include "counter.h"

COUNTER(counter);

SEC("xdp")
int first(struct xdp_md *ctx)
{
	count(&counter, 1);
	return XDP_PASS;
}

SEC("xdp")
int second(struct xdp_md *ctx)
{
	count(&counter, 1000);
	return XDP_PASS;
}

SEC("tc")
int only_tc(struct __sk_buff *skb)
{
	count(&counter, 1);
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
