// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Appends its tag to a shared trace, which proves the order of a chain. For tc and tcx.
#include <linux/pkt_cls.h>
#include "trace.h"

volatile const __s32 verdict = TC_ACT_OK;

SEC("tc")
int tc_trace(struct __sk_buff *skb)
{
	stamp();
	return verdict;
}

char _license[] SEC("license") = "Dual BSD/GPL";
