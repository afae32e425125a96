// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// A function that no kernel has, and the program insists on it.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

extern void bpfman_no_such_kfunc(void) __ksym;

SEC("xdp")
int kfunc_missing(struct xdp_md *ctx)
{
	bpfman_no_such_kfunc();
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
