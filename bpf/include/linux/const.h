/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef LINUX_CONST_H
#define LINUX_CONST_H

#define _BITUL(bit) (1UL << (bit))

#endif
