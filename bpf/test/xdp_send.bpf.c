// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Sends packets elsewhere: back to where they came from, or out of another interface.
#include <linux/if_ether.h>
#include "counter.h"

// The interface that redirect sends to.
volatile const __u32 ifindex = 0;

COUNTER(counter);

// Swaps the addresses, so that the sender takes the packet as its own.
SEC("xdp")
int tx(struct xdp_md *ctx)
{
	struct ethhdr *eth = (void *)(long)ctx->data;
	__u8 address[ETH_ALEN];

	if ((void *)(eth + 1) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	__builtin_memcpy(address, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, address, ETH_ALEN);
	count(&counter, 1);
	return XDP_TX;
}

SEC("xdp")
int redirect(struct xdp_md *ctx)
{
	count(&counter, 1);
	return bpf_redirect(ifindex, 0);
}

char _license[] SEC("license") = "Dual BSD/GPL";
