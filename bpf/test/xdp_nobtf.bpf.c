// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Compiled without BTF, as objects were for years: it can be attached, but not chained.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

volatile const __s32 verdict = XDP_PASS;
__u64 packets;

SEC("xdp")
int xdp_nobtf(struct xdp_md *ctx)
{
	__sync_fetch_and_add(&packets, 1);
	return verdict;
}

char _license[] SEC("license") = "Dual BSD/GPL";
