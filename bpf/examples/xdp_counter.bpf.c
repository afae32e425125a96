// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Counts packets and bytes, per CPU, and lets them pass.
#include "stats.h"

STATS_MAP(xdp_stats_map);

SEC("xdp")
int xdp_stats(struct xdp_md *ctx)
{
	add_packet(&xdp_stats_map, ctx->data_end - ctx->data);
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
