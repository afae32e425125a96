/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "counter.h"

/* Entry 0 is the number of stamps, entry n the tag of the n-th. Shared with --map-owner-id. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u32);
} trace SEC(".maps");

volatile const __u32 tag = 0;

/* One packet goes through its chain on one CPU: a test that sends one at a time needs no lock. */
static __always_inline void stamp(void)
{
	__u32 key = 0, mine = tag;
	__u32 *used = bpf_map_lookup_elem(&trace, &key);

	if (!used)
		return;
	key = *used + 1;
	if (!bpf_map_update_elem(&trace, &key, &mine, BPF_ANY))
		*used = key;
}
