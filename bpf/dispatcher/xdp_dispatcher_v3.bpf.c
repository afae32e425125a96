// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The XDP dispatcher in protocol version 3 (libxdp 1.6 and later): one more byte of config.
#define DISPATCHER_VERSION 3
#include "xdp_dispatcher.bpf.c"
