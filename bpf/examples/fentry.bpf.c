// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Counts files that are about to be removed.
#include "counter.h"

COUNTER(fentry_count);

SEC("fentry/do_unlinkat")
int test_fentry(void *ctx)
{
	count(&fentry_count, 1);
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
