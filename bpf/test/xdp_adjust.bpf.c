// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Programs that move the packet and then read it: a chain's slot must not forbid that. Each
// counts IPv4 packets and leaves the packet as it was.
#include <linux/if_ether.h>
#include <bpf/bpf_endian.h>
#include "counter.h"

volatile const __s32 verdict = XDP_PASS;

COUNTER(counter);

static __always_inline void count_ipv4(struct xdp_md *ctx)
{
	struct ethhdr *eth = (void *)(long)ctx->data;

	if ((void *)(eth + 1) <= (void *)(long)ctx->data_end && eth->h_proto == bpf_htons(ETH_P_IP))
		count(&counter, 1);
}

SEC("xdp")
int adjust_head(struct xdp_md *ctx)
{
	if (bpf_xdp_adjust_head(ctx, -16) || bpf_xdp_adjust_head(ctx, 16))
		return XDP_ABORTED;
	count_ipv4(ctx);
	return verdict;
}

SEC("xdp")
int adjust_tail(struct xdp_md *ctx)
{
	if (bpf_xdp_adjust_tail(ctx, 0))
		return XDP_ABORTED;
	count_ipv4(ctx);
	return verdict;
}

char _license[] SEC("license") = "Dual BSD/GPL";
