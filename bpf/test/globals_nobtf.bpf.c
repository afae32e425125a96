// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Globals that only the symbol table knows.
#include "globals.h"
