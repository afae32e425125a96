// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Counts packets and returns the verdict that it was loaded with. For tc and tcx.
#include <linux/pkt_cls.h>
#include "counter.h"

volatile const __s32 verdict = TC_ACT_OK;

COUNTER(counter);

SEC("tc")
int tc_verdict(struct __sk_buff *skb)
{
	count(&counter, 1);
	return verdict;
}

char _license[] SEC("license") = "Dual BSD/GPL";
