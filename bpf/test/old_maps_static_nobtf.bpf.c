// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Old map definitions that other files cannot see, in an object without BTF.
#include "counter.h"

struct bpf_map_def {
	__u32 type;
	__u32 key_size;
	__u32 value_size;
	__u32 max_entries;
	__u32 map_flags;
};

SEC("maps") static struct bpf_map_def first = { BPF_MAP_TYPE_ARRAY, 4, 8, 3, 0 };
SEC("maps") static struct bpf_map_def second = { BPF_MAP_TYPE_ARRAY, 4, 8, 4, 0 };

SEC("xdp")
int use_both(struct xdp_md *ctx)
{
	count(&first, 1);
	count(&second, 1000);
	return XDP_PASS;
}

SEC("xdp")
int use_second(struct xdp_md *ctx)
{
	count(&second, 1);
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
