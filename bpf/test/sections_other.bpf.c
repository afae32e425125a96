// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Section names that mean programs that we do not attach, and one that means nothing.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("socket")
int s_socket(struct __sk_buff *skb)
{
	return 0;
}

SEC("cgroup_skb/ingress")
int s_cgroup_skb_ingress(struct __sk_buff *skb)
{
	return 1;
}

SEC("whatever")
int s_whatever(void *ctx)
{
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
