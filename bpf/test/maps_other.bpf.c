// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Map types that packet programs of XDP do not use.
#include <linux/pkt_cls.h>
#include "counter.h"

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u64);
} sockmap SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, 64);
	__uint(key_size, 4);
	__uint(value_size, 127 * 8);
} stacks SEC(".maps");
COUNTER(found);

// Counts packets that find a socket at key 0.
SEC("tc")
int use_sockmap(struct __sk_buff *skb)
{
	__u32 key = 0;
	struct bpf_sock *sk = bpf_map_lookup_elem(&sockmap, &key);

	if (sk) {
		count(&found, 1);
		bpf_sk_release(sk);
	}
	return TC_ACT_OK;
}

// Keeps the kernel stack of each call and counts the stacks kept.
SEC("tracepoint/syscalls/sys_enter_openat")
int use_stacks(void *ctx)
{
	if (bpf_get_stackid(ctx, &stacks, BPF_F_REUSE_STACKID) >= 0)
		count(&found, 1);
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
