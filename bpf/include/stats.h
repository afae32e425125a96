/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef STATS_H
#define STATS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct datarec {
	__u64 packets;
	__u64 bytes;
};

/* A per-CPU array of one entry: u32 key 0 -> packets and bytes. */
#define STATS_MAP(name)                                                                            \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);                                           \
		__uint(max_entries, 1);                                                            \
		__type(key, __u32);                                                                \
		__type(value, struct datarec);                                                     \
	} name SEC(".maps")

/* Adds one packet of so many bytes; no other CPU writes this CPU's entry. */
static __always_inline void add_packet(void *map, __u64 bytes)
{
	__u32 key = 0;
	struct datarec *record = bpf_map_lookup_elem(map, &key);

	if (!record)
		return;
	record->packets++;
	record->bytes += bytes;
}

#endif
