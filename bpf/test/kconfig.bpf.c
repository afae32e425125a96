// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// A value that the loader finds out: the kernel's version.
#include "counter.h"

extern int LINUX_KERNEL_VERSION __kconfig;

COUNTER(version);

SEC("xdp")
int kconfig(struct xdp_md *ctx)
{
	set(&version, LINUX_KERNEL_VERSION);
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
