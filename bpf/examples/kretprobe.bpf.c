// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Counts returns of the kernel function that it is attached to.
#include "counter.h"

COUNTER(kretprobe_count);

SEC("kretprobe")
int my_kretprobe(void *ctx)
{
	count(&kretprobe_count, 1);
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
