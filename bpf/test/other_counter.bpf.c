// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// A map that has the name of the other test programs' counter and another shape: not to be shared.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u32);
} counter SEC(".maps");

SEC("xdp")
int other_counter(struct xdp_md *ctx)
{
	__u32 key = 1, *value = bpf_map_lookup_elem(&counter, &key);

	if (value)
		__sync_fetch_and_add(value, 1);
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
