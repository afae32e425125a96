// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Section names that mean fentry and fexit, and relatives that are neither.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("fentry")
int s_fentry(void *ctx)
{
	return 0;
}

SEC("fentry/do_unlinkat")
int s_fentry_do_unlinkat(void *ctx)
{
	return 0;
}

SEC("fentry.s")
int s_fentry_s(void *ctx)
{
	return 0;
}

SEC("fentry.s/bpf_fentry_test1")
int s_fentry_s_bpf_fentry_test1(void *ctx)
{
	return 0;
}

SEC("fexit")
int s_fexit(void *ctx)
{
	return 0;
}

SEC("fexit/do_unlinkat")
int s_fexit_do_unlinkat(void *ctx)
{
	return 0;
}

SEC("fexit.s")
int s_fexit_s(void *ctx)
{
	return 0;
}

SEC("fexit.s/bpf_fentry_test1")
int s_fexit_s_bpf_fentry_test1(void *ctx)
{
	return 0;
}

SEC("fmod_ret/security_file_open")
int s_fmod_ret_security_file_open(void *ctx)
{
	return 0;
}

SEC("lsm/file_open")
int s_lsm_file_open(void *ctx)
{
	return 0;
}

SEC("raw_tp/sched_switch")
int s_raw_tp_sched_switch(void *ctx)
{
	return 0;
}

SEC("tp_btf/sched_switch")
int s_tp_btf_sched_switch(void *ctx)
{
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
