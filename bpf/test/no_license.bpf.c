// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Calls a helper that only GPL-compatible programs may call, and says that it is not one.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("xdp")
int no_license(struct xdp_md *ctx)
{
	bpf_printk("not for me");
	return XDP_PASS;
}

char _license[] SEC("license") = "Proprietary";
