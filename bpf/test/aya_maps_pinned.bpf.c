// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Map definitions of 28 bytes that ask to be pinned by name (1), which must not leave our tree.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct bpf_map_def {
	__u32 type;
	__u32 key_size;
	__u32 value_size;
	__u32 max_entries;
	__u32 map_flags;
	__u32 id;
	__u32 pinning;
};

#define MAP(type, key, value, max, flags) { type, key, value, max, flags, 0, 1 }

#include "old_maps.h"
