// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// A function that no kernel has, which the program does without.
#include "counter.h"

extern void bpfman_no_such_kfunc(void) __ksym __weak;

COUNTER(counter);

SEC("xdp")
int kfunc_weak(struct xdp_md *ctx)
{
	if (bpf_ksym_exists(bpfman_no_such_kfunc))
		bpfman_no_such_kfunc();
	else
		count(&counter, 1);
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
