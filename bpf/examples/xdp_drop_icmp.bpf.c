// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Drops ICMP over IPv4 and counts what it dropped. DROP_TYPE narrows it to one ICMP type.
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <bpf/bpf_endian.h>
#include "stats.h"

// The ICMP type to drop: 8 is echo request; 255 drops every type.
volatile const __u8 DROP_TYPE = 255;

STATS_MAP(dropped);

SEC("xdp")
int drop_icmp(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct iphdr *ip = (void *)(eth + 1);
	__u8 *type;

	if ((void *)(ip + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP) ||
	    ip->protocol != IPPROTO_ICMP)
		return XDP_PASS;
	type = (__u8 *)ip + ip->ihl * 4;
	if ((void *)(type + 1) > end || (DROP_TYPE != 255 && *type != DROP_TYPE))
		return XDP_PASS;
	add_packet(&dropped, ctx->data_end - ctx->data);
	return XDP_DROP;
}

char _license[] SEC("license") = "Dual BSD/GPL";
