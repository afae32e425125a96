// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Globals, with BTF that describes them.
#include "globals.h"
