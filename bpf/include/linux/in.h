/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef LINUX_IN_H
#define LINUX_IN_H

#define IPPROTO_ICMP 1

#endif
