// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Counts removals of files that have returned.
#include "counter.h"

COUNTER(fexit_count);

SEC("fexit/do_unlinkat")
int test_fexit(void *ctx)
{
	count(&fexit_count, 1);
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
