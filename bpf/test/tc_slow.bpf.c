// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Keeps the first packet for as long as it was loaded with. For tc, kernel >= 5.17.
#include <linux/pkt_cls.h>
#include "counter.h"

volatile const __u64 nanoseconds = 0;

COUNTER(counter);
COUNTER(kept);

static long is_over(__u32 i, void *until)
{
	return bpf_ktime_get_ns() > *(__u64 *)until;
}

SEC("tc")
int tc_slow(struct __sk_buff *skb)
{
	__u32 key = 0;
	__u64 *seen = bpf_map_lookup_elem(&counter, &key);
	__u64 until = bpf_ktime_get_ns() + nanoseconds;

	if (seen && __sync_fetch_and_add(seen, 1) == 0) {
		bpf_loop(1 << 23, is_over, &until, 0);
		set(&kept, 1);
	}
	return TC_ACT_OK;
}

char _license[] SEC("license") = "Dual BSD/GPL";
