// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// A map that asks to be pinned by its name, which must not happen outside our own tree.
#include "counter.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, __u64);
} pinned_counter SEC(".maps");

SEC("xdp")
int pin_by_name(struct xdp_md *ctx)
{
	count(&pinned_counter, 1);
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
