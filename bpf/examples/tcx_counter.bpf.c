// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Counts packets and bytes, per CPU, and leaves the verdict to the next TCX program.
#include <linux/pkt_cls.h>
#include "stats.h"

STATS_MAP(tcx_stats_map);

SEC("tcx/ingress")
int tcx_stats(struct __sk_buff *skb)
{
	add_packet(&tcx_stats_map, skb->len);
	return TCX_NEXT;
}

char _license[] SEC("license") = "Dual BSD/GPL";
