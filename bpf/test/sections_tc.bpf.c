// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Section names that mean a TC program. libbpf takes all but classifier/pass.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("tc")
int s_tc(struct __sk_buff *skb)
{
	return -1;
}

SEC("classifier")
int s_classifier(struct __sk_buff *skb)
{
	return -1;
}

SEC("classifier/pass")
int s_classifier_pass(struct __sk_buff *skb)
{
	return -1;
}

SEC("action")
int s_action(struct __sk_buff *skb)
{
	return -1;
}

SEC("tc/ingress")
int s_tc_ingress(struct __sk_buff *skb)
{
	return -1;
}

SEC("tc/egress")
int s_tc_egress(struct __sk_buff *skb)
{
	return -1;
}

SEC("tcx/ingress")
int s_tcx_ingress(struct __sk_buff *skb)
{
	return -1;
}

SEC("tcx/egress")
int s_tcx_egress(struct __sk_buff *skb)
{
	return -1;
}

char _license[] SEC("license") = "Dual BSD/GPL";
