// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Counts calls of the user-space function that it is attached to.
#include "counter.h"

COUNTER(uprobe_count);

SEC("uprobe")
int my_uprobe(void *ctx)
{
	count(&uprobe_count, 1);
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
