// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Compiled for big-endian machines: refused on others.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("xdp")
int xdp_bpfeb(struct xdp_md *ctx)
{
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
