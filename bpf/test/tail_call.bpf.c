// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// A program array that the object fills itself: entry jumps to target, both have to be loaded.
#include "counter.h"

COUNTER(counter);

SEC("xdp") int target(struct xdp_md *ctx);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 2);
	__uint(key_size, 4);
	__array(values, int(struct xdp_md *));
} jumps SEC(".maps") = { .values = { [1] = &target } };

SEC("xdp")
int target(struct xdp_md *ctx)
{
	count(&counter, 1);
	return XDP_PASS;
}

SEC("xdp")
int entry(struct xdp_md *ctx)
{
	bpf_tail_call(ctx, &jumps, 1);
	return XDP_ABORTED;
}

char _license[] SEC("license") = "Dual BSD/GPL";
