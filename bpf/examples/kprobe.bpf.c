// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Counts calls of the kernel function that it is attached to.
#include "counter.h"

COUNTER(kprobe_count);

SEC("kprobe")
int my_kprobe(void *ctx)
{
	count(&kprobe_count, 1);
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
