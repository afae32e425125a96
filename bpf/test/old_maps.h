/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The program of the objects with map definitions from before BTF; `MAP(...)` defines one. */

SEC("maps") struct bpf_map_def counter = MAP(BPF_MAP_TYPE_ARRAY, 4, 8, 1, 0);
SEC("maps") struct bpf_map_def lengths = MAP(BPF_MAP_TYPE_HASH, 4, 8, 64, BPF_F_NO_PREALLOC);
SEC("maps") struct bpf_map_def per_cpu = MAP(BPF_MAP_TYPE_PERCPU_ARRAY, 4, 8, 1, 0);

static __always_inline void add(void *map, __u32 key)
{
	__u64 one = 1, *value = bpf_map_lookup_elem(map, &key);

	if (value)
		__sync_fetch_and_add(value, 1);
	else
		bpf_map_update_elem(map, &key, &one, BPF_NOEXIST);
}

SEC("xdp")
int old_maps(struct xdp_md *ctx)
{
	add(&counter, 0);
	add(&lengths, ctx->data_end - ctx->data);
	add(&per_cpu, 0);
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
