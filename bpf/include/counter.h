/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef COUNTER_H
#define COUNTER_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* An array map of one entry: u32 key 0 -> u64. */
#define COUNTER(name)                                                                              \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_ARRAY);                                                  \
		__uint(max_entries, 1);                                                            \
		__type(key, __u32);                                                                \
		__type(value, __u64);                                                              \
	} name SEC(".maps")

/* Adds to entry 0 of a map made by COUNTER. */
static __always_inline void count(void *map, __u64 by)
{
	__u32 key = 0;
	__u64 *value = bpf_map_lookup_elem(map, &key);

	if (value)
		__sync_fetch_and_add(value, by);
}

/* Sets entry 0 of a map made by COUNTER. */
static __always_inline void set(void *map, __u64 to)
{
	__u32 key = 0;
	__u64 *value = bpf_map_lookup_elem(map, &key);

	if (value)
		*value = to;
}

/* The process id as user space sees it (the thread group). */
static __always_inline __u32 current_pid(void)
{
	return bpf_get_current_pid_tgid() >> 32;
}

#endif
