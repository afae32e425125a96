/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef LINUX_IF_ETHER_H
#define LINUX_IF_ETHER_H

#include <linux/types.h>

/* Bytes of an address and of a header. */
#define ETH_ALEN 6
#define ETH_HLEN 14

#define ETH_P_IP 0x0800

struct ethhdr {
	__u8 h_dest[ETH_ALEN];
	__u8 h_source[ETH_ALEN];
	__be16 h_proto;
} __attribute__((packed));

#endif
