/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef LINUX_IP_H
#define LINUX_IP_H

#include <linux/types.h>

/* The header of IPv4 without its options, RFC 791. */
struct iphdr {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	__u8 ihl : 4, version : 4;
#else
	__u8 version : 4, ihl : 4;
#endif
	__u8 tos;
	__be16 tot_len;
	__be16 id;
	__be16 frag_off;
	__u8 ttl;
	__u8 protocol;
	__sum16 check;
	__be32 saddr;
	__be32 daddr;
};

#endif
