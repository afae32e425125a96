// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Map definitions from before BTF, for big-endian machines.
#include "old_maps.bpf.c"
