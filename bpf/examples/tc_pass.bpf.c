// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Lets every packet pass; the globals show how values are set at load time.
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

volatile const __u8 GLOBAL_u8 = 0;
volatile const __u32 GLOBAL_u32 = 0;

SEC("tc")
int pass(struct __sk_buff *skb)
{
	bpf_printk("tc_pass: GLOBAL_u8 0x%x GLOBAL_u32 0x%x", GLOBAL_u8, GLOBAL_u32);
	return TC_ACT_OK;
}

char _license[] SEC("license") = "Dual BSD/GPL";
