// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// One program for every map type that a packet program uses. Each leaves something to read.
#include "counter.h"

#define KEYED(name, kind, max, flags)                                                              \
	struct {                                                                                   \
		__uint(type, kind);                                                                \
		__uint(max_entries, max);                                                          \
		__uint(map_flags, flags);                                                          \
		__type(key, __u32);                                                                \
		__type(value, __u64);                                                              \
	} name SEC(".maps")

#define VALUES_ONLY(name, kind)                                                                    \
	struct {                                                                                   \
		__uint(type, kind);                                                                \
		__uint(max_entries, 64);                                                           \
		__type(value, __u64);                                                              \
	} name SEC(".maps")

#define TARGETS(name, kind)                                                                        \
	struct {                                                                                   \
		__uint(type, kind);                                                                \
		__uint(max_entries, 8);                                                            \
		__type(key, __u32);                                                                \
		__type(value, __u32);                                                              \
	} name SEC(".maps")

struct prefix {
	__u32 bits;
	__u32 address;
};

KEYED(array, BPF_MAP_TYPE_ARRAY, 4, 0);
KEYED(hash, BPF_MAP_TYPE_HASH, 64, 0);
KEYED(percpu_array, BPF_MAP_TYPE_PERCPU_ARRAY, 4, 0);
KEYED(percpu_hash, BPF_MAP_TYPE_PERCPU_HASH, 64, 0);
KEYED(lru_hash, BPF_MAP_TYPE_LRU_HASH, 64, 0);
KEYED(lru_percpu_hash, BPF_MAP_TYPE_LRU_PERCPU_HASH, 64, 0);
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 64);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix);
	__type(value, __u64);
} lpm_trie SEC(".maps");
TARGETS(prog_array, BPF_MAP_TYPE_PROG_ARRAY);
struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, 4);
	__uint(value_size, 4);
} events SEC(".maps");
VALUES_ONLY(queue, BPF_MAP_TYPE_QUEUE);
VALUES_ONLY(stack, BPF_MAP_TYPE_STACK);
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} ringbuf SEC(".maps");
TARGETS(devmap, BPF_MAP_TYPE_DEVMAP);
TARGETS(devmap_hash, BPF_MAP_TYPE_DEVMAP_HASH);
TARGETS(cpumap, BPF_MAP_TYPE_CPUMAP);
TARGETS(xskmap, BPF_MAP_TYPE_XSKMAP);

struct inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} inner_0 SEC(".maps"), inner_1 SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 2);
	__type(key, __u32);
	__array(values, struct inner);
} array_of_maps SEC(".maps") = { .values = { &inner_0, &inner_1 } };
struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 8);
	__type(key, __u32);
	__array(values, struct inner);
} hash_of_maps SEC(".maps") = { .values = { [0] = &inner_0, [7] = &inner_1 } };

static __always_inline void add(void *map, void *key)
{
	__u64 one = 1, *value = bpf_map_lookup_elem(map, key);

	if (value)
		__sync_fetch_and_add(value, 1);
	else
		bpf_map_update_elem(map, key, &one, BPF_NOEXIST);
}

// Counts at key 1.
#define USE_KEYED(map)                                                                             \
	SEC("xdp") int use_##map(struct xdp_md *ctx)                                               \
	{                                                                                          \
		__u32 key = 1;                                                                     \
		add(&map, &key);                                                                   \
		return XDP_PASS;                                                                   \
	}

USE_KEYED(array)
USE_KEYED(hash)
USE_KEYED(percpu_array)
USE_KEYED(percpu_hash)
USE_KEYED(lru_hash)
USE_KEYED(lru_percpu_hash)

SEC("xdp")
int use_lpm_trie(struct xdp_md *ctx)
{
	struct prefix key = { 32, 0x0100000a };

	add(&lpm_trie, &key);
	return XDP_PASS;
}

// Jumps to what a test put at 1 and passes when there is nothing.
SEC("xdp")
int use_prog_array(struct xdp_md *ctx)
{
	bpf_tail_call(ctx, &prog_array, 1);
	return XDP_PASS;
}

// Sends the packet's length.
SEC("xdp")
int use_events(struct xdp_md *ctx)
{
	__u64 length = ctx->data_end - ctx->data;

	bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, &length, sizeof(length));
	return XDP_PASS;
}

#define USE_PUSH(map)                                                                              \
	SEC("xdp") int use_##map(struct xdp_md *ctx)                                               \
	{                                                                                          \
		__u64 length = ctx->data_end - ctx->data;                                          \
		bpf_map_push_elem(&map, &length, BPF_EXIST);                                       \
		return XDP_PASS;                                                                   \
	}

USE_PUSH(queue)
USE_PUSH(stack)

SEC("xdp")
int use_ringbuf(struct xdp_md *ctx)
{
	__u64 length = ctx->data_end - ctx->data;

	bpf_ringbuf_output(&ringbuf, &length, sizeof(length), 0);
	return XDP_PASS;
}

// Redirects to entry 0 and passes while it is empty.
#define USE_TARGETS(map)                                                                           \
	SEC("xdp") int use_##map(struct xdp_md *ctx)                                               \
	{                                                                                          \
		return bpf_redirect_map(&map, 0, XDP_PASS);                                        \
	}

USE_TARGETS(devmap)
USE_TARGETS(devmap_hash)
USE_TARGETS(cpumap)
USE_TARGETS(xskmap)

static __always_inline int count_inner(void *outer, __u32 key)
{
	void *inner = bpf_map_lookup_elem(outer, &key);

	if (inner)
		count(inner, 1);
	return XDP_PASS;
}

// Counts in inner_1.
SEC("xdp")
int use_array_of_maps(struct xdp_md *ctx)
{
	return count_inner(&array_of_maps, 1);
}

// Counts in inner_1.
SEC("xdp")
int use_hash_of_maps(struct xdp_md *ctx)
{
	return count_inner(&hash_of_maps, 7);
}

char _license[] SEC("license") = "Dual BSD/GPL";
