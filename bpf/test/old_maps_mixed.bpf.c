// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Old map definitions in several sections and invisible to other files, beside one of the new kind.
#include "counter.h"

struct bpf_map_def {
	__u32 type;
	__u32 key_size;
	__u32 value_size;
	__u32 max_entries;
	__u32 map_flags;
	__u32 id;
	__u32 pinning;
};

SEC("maps") struct bpf_map_def visible = { BPF_MAP_TYPE_ARRAY, 4, 8, 1, 0, 0, 1 };
SEC("maps/one") static struct bpf_map_def lone = { BPF_MAP_TYPE_ARRAY, 4, 8, 2, 0, 1, 1 };
SEC("maps/two") static struct bpf_map_def first = { BPF_MAP_TYPE_ARRAY, 4, 8, 3, 0, 2, 0 };
SEC("maps/two") static struct bpf_map_def second = { BPF_MAP_TYPE_ARRAY, 4, 8, 4, 0, 3, 0 };

COUNTER(modern);

SEC("xdp")
int use_all(struct xdp_md *ctx)
{
	count(&visible, 1);
	count(&lone, 10);
	count(&first, 100);
	count(&second, 1000);
	count(&modern, 10000);
	return XDP_PASS;
}

SEC("xdp")
int use_second(struct xdp_md *ctx)
{
	count(&second, 1);
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
