// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Counters for every kind of attach that the command line aims: sections without a place.
#include "counter.h"

// Counts calls of this process only, when set.
volatile const __u32 only_pid = 0;

COUNTER(counter);
COUNTER(last_pid);

static __always_inline int hit(void)
{
	__u32 pid = current_pid();

	if (only_pid && pid != only_pid)
		return 0;
	count(&counter, 1);
	set(&last_pid, pid);
	return 0;
}

#define PROGRAM(section, name)                                                                     \
	SEC(section) int name(void *ctx)                                                           \
	{                                                                                          \
		return hit();                                                                      \
	}

PROGRAM("kprobe", count_kprobe)
PROGRAM("kretprobe", count_kretprobe)
PROGRAM("uprobe", count_uprobe)
PROGRAM("uretprobe", count_uretprobe)
PROGRAM("uprobe.s", count_uprobe_s)
PROGRAM("tracepoint", count_tracepoint)
PROGRAM("fentry", count_fentry)
PROGRAM("fexit", count_fexit)
PROGRAM("fentry.s", count_fentry_s)

char _license[] SEC("license") = "Dual BSD/GPL";
