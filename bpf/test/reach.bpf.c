// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Every way in which a program reaches a map: itself, through functions, through a callback,
// through a map of maps. What it does not reach must not be needed to load it.
#include "counter.h"

COUNTER(direct);
COUNTER(by_static);
COUNTER(by_global);
COUNTER(by_callback);
COUNTER(unreached);

struct inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} inner SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct inner);
} outer SEC(".maps") = { .values = { &inner } };

volatile const __u64 step = 1;

// A call within .text, which has no relocation.
static __attribute__((noinline)) int deepest(__u64 by)
{
	count(&by_static, by);
	return 0;
}

__attribute__((noinline)) int deep(int number)
{
	count(&by_global, 1);
	return deepest(1) + number;
}

static long each(__u32 index, void *context)
{
	count(&by_callback, 1);
	return 0;
}

SEC("xdp")
int through_calls(struct xdp_md *ctx)
{
	count(&direct, 1);
	return deep(XDP_PASS);
}

SEC("xdp")
int through_callback(struct xdp_md *ctx)
{
	bpf_loop(1, each, NULL, 0);
	return XDP_PASS;
}

SEC("xdp")
int through_map(struct xdp_md *ctx)
{
	__u32 key = 0;
	void *map = bpf_map_lookup_elem(&outer, &key);

	if (map)
		count(map, step);
	return XDP_PASS;
}

SEC("xdp")
int through_nothing(struct xdp_md *ctx)
{
	return XDP_PASS;
}

SEC("xdp")
int keeps_unreached(struct xdp_md *ctx)
{
	count(&unreached, 1);
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
