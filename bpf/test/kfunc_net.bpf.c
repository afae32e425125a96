// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// A function of the kernel (kfunc) that every program type may call since 6.2.
#include "counter.h"

extern void *bpf_cast_to_kern_ctx(void *ctx) __ksym;

COUNTER(counter);

SEC("xdp")
int kfunc_xdp(struct xdp_md *ctx)
{
	if (bpf_cast_to_kern_ctx(ctx))
		count(&counter, 1);
	return XDP_PASS;
}

SEC("tc")
int kfunc_tc(struct __sk_buff *skb)
{
	if (bpf_cast_to_kern_ctx(skb))
		count(&counter, 1);
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
