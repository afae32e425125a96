// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Names longer than the 15 characters that the kernel keeps.
#include "counter.h"

COUNTER(a_map_with_a_name_that_the_kernel_cuts);

SEC("xdp")
int a_program_with_a_name_that_the_kernel_cuts(struct xdp_md *ctx)
{
	count(&a_map_with_a_name_that_the_kernel_cuts, 1);
	return XDP_PASS;
}

// The same first 15 characters.
SEC("xdp")
int a_program_with_another_name(struct xdp_md *ctx)
{
	count(&a_map_with_a_name_that_the_kernel_cuts, 100);
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
