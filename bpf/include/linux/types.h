/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The numbers of the kernel's interface. This folder has what libbpf's headers and our sources need
 * and libbpf does not bring: the headers of the machine take no part in a compilation.
 */
#ifndef LINUX_TYPES_H
#define LINUX_TYPES_H

/* libbpf's, for __struct_group, which its pkt_cls.h takes for granted. */
#include <linux/stddef.h>

typedef signed char __s8;
typedef unsigned char __u8;
typedef short __s16;
typedef unsigned short __u16;
typedef int __s32;
typedef unsigned int __u32;
/* Not long, on any machine: BTF would tell the difference. */
typedef long long __s64;
typedef unsigned long long __u64;

/* Two bytes and four in network order, and Internet checksums. */
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u16 __sum16;
typedef __u32 __wsum;

#define __aligned_u64 __u64 __attribute__((aligned(8)))

#endif
