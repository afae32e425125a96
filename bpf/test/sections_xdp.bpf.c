// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Section names that mean an XDP program. libbpf takes all but xdp/name and xdp_prog.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("xdp")
int s_xdp(struct xdp_md *ctx)
{
	return XDP_PASS;
}

SEC("xdp/name")
int s_xdp_name(struct xdp_md *ctx)
{
	return XDP_PASS;
}

SEC("xdp_prog")
int s_xdp_prog(struct xdp_md *ctx)
{
	return XDP_PASS;
}

SEC("xdp.frags")
int s_xdp_frags(struct xdp_md *ctx)
{
	return XDP_PASS;
}

SEC("xdp/devmap")
int s_xdp_devmap(struct xdp_md *ctx)
{
	return XDP_PASS;
}

SEC("xdp/cpumap")
int s_xdp_cpumap(struct xdp_md *ctx)
{
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
