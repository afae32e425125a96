// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Functions of the kernel (kfuncs) that tracing programs may call since 6.1 (CONFIG_KEYS).
#include "counter.h"

// The name and the kind have to match, the fields do not.
struct bpf_key {
	int unused;
};

extern struct bpf_key *bpf_lookup_system_key(__u64 id) __ksym;
extern void bpf_key_put(struct bpf_key *key) __ksym;

COUNTER(counter);

// Counts when the kernel's own keyring was found, which it always is.
SEC("fentry/do_unlinkat")
int kfunc(void *ctx)
{
	struct bpf_key *key = bpf_lookup_system_key(0);

	if (key) {
		bpf_key_put(key);
		count(&counter, 1);
	}
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
