// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Section names that mean a kprobe or uprobe, with and without a place to attach to.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("kprobe")
int s_kprobe(void *ctx)
{
	return 0;
}

SEC("kprobe/do_unlinkat")
int s_kprobe_do_unlinkat(void *ctx)
{
	return 0;
}

SEC("kprobe/do_unlinkat+0x4")
int s_kprobe_do_unlinkat_0x4(void *ctx)
{
	return 0;
}

SEC("kretprobe")
int s_kretprobe(void *ctx)
{
	return 0;
}

SEC("kretprobe/do_unlinkat")
int s_kretprobe_do_unlinkat(void *ctx)
{
	return 0;
}

SEC("kprobe.multi")
int s_kprobe_multi(void *ctx)
{
	return 0;
}

SEC("kprobe.multi/do_unlink*")
int s_kprobe_multi_do_unlink_(void *ctx)
{
	return 0;
}

SEC("kretprobe.multi")
int s_kretprobe_multi(void *ctx)
{
	return 0;
}

SEC("ksyscall/openat")
int s_ksyscall_openat(void *ctx)
{
	return 0;
}

SEC("uprobe")
int s_uprobe(void *ctx)
{
	return 0;
}

SEC("uprobe//usr/bin/env:main")
int s_uprobe_env(void *ctx)
{
	return 0;
}

SEC("uprobe.s")
int s_uprobe_s(void *ctx)
{
	return 0;
}

SEC("uprobe.multi")
int s_uprobe_multi(void *ctx)
{
	return 0;
}

SEC("uretprobe")
int s_uretprobe(void *ctx)
{
	return 0;
}

SEC("uretprobe//usr/bin/env:main")
int s_uretprobe_env(void *ctx)
{
	return 0;
}

SEC("uretprobe.s")
int s_uretprobe_s(void *ctx)
{
	return 0;
}

SEC("usdt")
int s_usdt(void *ctx)
{
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
