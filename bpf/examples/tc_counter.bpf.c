// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Counts packets and bytes, per CPU, and lets them pass.
#include <linux/pkt_cls.h>
#include "stats.h"

STATS_MAP(tc_stats_map);

SEC("tc")
int stats(struct __sk_buff *skb)
{
	add_packet(&tc_stats_map, skb->len);
	return TC_ACT_OK;
}

char _license[] SEC("license") = "Dual BSD/GPL";
