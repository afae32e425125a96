// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The example for big-endian machines: an image may hold both.
#include "../examples/xdp_counter.bpf.c"
