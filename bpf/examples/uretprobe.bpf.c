// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Counts returns of the user-space function that it is attached to.
#include "counter.h"

COUNTER(uretprobe_count);

SEC("uretprobe")
int my_uretprobe(void *ctx)
{
	count(&uretprobe_count, 1);
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
