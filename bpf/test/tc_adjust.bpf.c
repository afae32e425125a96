// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Programs that change the packet and then read it: a chain's slot must not forbid that. Each
// counts IPv4 packets and leaves the packet as it was.
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include "counter.h"

volatile const __s32 verdict = TC_ACT_OK;

COUNTER(counter);

static __always_inline void count_ipv4(struct __sk_buff *skb)
{
	struct ethhdr *eth = (void *)(long)skb->data;

	if ((void *)(eth + 1) <= (void *)(long)skb->data_end && eth->h_proto == bpf_htons(ETH_P_IP))
		count(&counter, 1);
}

SEC("tc")
int pull_data(struct __sk_buff *skb)
{
	if (bpf_skb_pull_data(skb, ETH_HLEN))
		return TC_ACT_SHOT;
	count_ipv4(skb);
	return verdict;
}

// Writes through the packet pointer, for which the verifier adds a prologue.
SEC("tc")
int direct_write(struct __sk_buff *skb)
{
	struct ethhdr *eth = (void *)(long)skb->data;

	if ((void *)(eth + 1) > (void *)(long)skb->data_end)
		return TC_ACT_SHOT;
	eth->h_proto ^= 0xffff;
	asm volatile("" : : : "memory");
	eth->h_proto ^= 0xffff;
	count_ipv4(skb);
	return verdict;
}

SEC("tc")
int store_bytes(struct __sk_buff *skb)
{
	__u8 address[ETH_ALEN];

	if (bpf_skb_load_bytes(skb, 0, address, sizeof(address)) ||
	    bpf_skb_store_bytes(skb, 0, address, sizeof(address), 0))
		return TC_ACT_SHOT;
	count_ipv4(skb);
	return verdict;
}

char _license[] SEC("license") = "Dual BSD/GPL";
