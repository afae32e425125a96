// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Reads the packet without a look at its end, the most usual rejection.
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

SEC("xdp")
int out_of_bounds(struct xdp_md *ctx)
{
	__u8 *data = (void *)(long)ctx->data;

	return data[12] ? XDP_PASS : XDP_DROP;
}

SEC("tc")
int out_of_bounds_tc(struct __sk_buff *skb)
{
	__u8 *data = (void *)(long)skb->data;

	return data[12] ? TC_ACT_OK : TC_ACT_SHOT;
}

char _license[] SEC("license") = "Dual BSD/GPL";
