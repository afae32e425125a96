// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Sends packets to another interface.
#include <linux/pkt_cls.h>
#include "counter.h"

// The interface that tc_redirect sends to.
volatile const __u32 ifindex = 0;

COUNTER(counter);

SEC("tc")
int tc_redirect(struct __sk_buff *skb)
{
	count(&counter, 1);
	return bpf_redirect(ifindex, 0);
}

char _license[] SEC("license") = "Dual BSD/GPL";
