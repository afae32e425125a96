/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Globals of every size in every section. Each packet copies them to `seen`, so that a test can
 * tell what the program really had.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct limits {
	__u32 rate;
	__u16 burst;
	__u8 on;
};

volatile const __u8 global_u8 = 0x11;
volatile const __u16 global_u16 = 0x2222;
volatile const __u32 global_u32 = 0x33333333;
volatile const __u64 global_u64 = 0x4444444444444444;
volatile const struct limits global_struct = { .rate = 0x55555555, .burst = 0x6666, .on = 0x77 };
volatile const __u8 global_array[4] = { 1, 2, 3, 4 };
static volatile const __u32 static_u32 = 0x88888888;

volatile __u32 data_u32 = 0x99999999;
volatile __u64 bss_u64;

/* A section of its own next to .rodata, which libbpf makes a map of its own. */
volatile const __u32 custom_u32 SEC(".rodata.custom") = 0xaaaaaaaa;

volatile __u64 seen[12];

SEC("xdp")
int globals(struct xdp_md *ctx)
{
	seen[0] = global_u8;
	seen[1] = global_u16;
	seen[2] = global_u32;
	seen[3] = global_u64;
	seen[4] = global_struct.rate;
	seen[5] = global_struct.burst;
	seen[6] = global_struct.on;
	seen[7] = global_array[0] | global_array[1] << 8 | global_array[2] << 16 |
		  (__u32)global_array[3] << 24;
	seen[8] = static_u32;
	seen[9] = data_u32;
	seen[10] = bss_u64;
	seen[11] = custom_u32;
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
