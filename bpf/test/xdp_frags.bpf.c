// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Takes packets of several fragments: for interfaces with a large MTU.
#include "counter.h"

volatile const __s32 verdict = XDP_PASS;

COUNTER(counter);
COUNTER(longest);

SEC("xdp.frags")
int xdp_frags(struct xdp_md *ctx)
{
	__u64 length = bpf_xdp_get_buff_len(ctx);
	__u32 key = 0;
	__u64 *old = bpf_map_lookup_elem(&longest, &key);

	count(&counter, 1);
	if (old && *old < length)
		*old = length;
	return verdict;
}

char _license[] SEC("license") = "Dual BSD/GPL";
