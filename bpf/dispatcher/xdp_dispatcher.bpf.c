// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The program that an interface runs when several XDP programs share it: it calls up to ten
// slots in order, and a loader attaches one extension program (freplace) to each slot.
//
// It speaks libxdp's dispatcher protocol, so that other tools can read and extend the chain.
// What they rely on: the names of the program, of the slots and of compat_test, one map only
// (`.rodata`) that holds exactly the config below, and the version in the BTF of `xdp_metadata`.
// Built twice: protocol version 2, and version 3 with -DDISPATCHER_VERSION=3.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#ifndef DISPATCHER_VERSION
#define DISPATCHER_VERSION 2
#endif

#define MAGIC 236
#define SLOTS 10
// What a slot returns while nothing is attached to it.
#define DISPATCHER_RETURN 31
// The proceed-on masks that nearly every chain has: pass, and pass or dispatcher_return.
#define PROCEED_PASS (1U << XDP_PASS)
#define PROCEED_DEFAULT (1U << XDP_PASS | 1U << DISPATCHER_RETURN)

struct xdp_dispatcher_config {
	__u8 magic;
	__u8 dispatcher_version;
	__u8 num_progs_enabled;
	__u8 is_xdp_frags;
	__u32 chain_call_actions[SLOTS];
	__u32 run_prios[SLOTS];
	__u32 program_flags[SLOTS];
#if DISPATCHER_VERSION >= 3
	__u8 is_xdp_devbound;
#endif
};

// Frozen before the load: the verifier knows each field and drops the branches that it rules out.
static volatile const struct xdp_dispatcher_config conf = {
	.magic = MAGIC,
	.dispatcher_version = DISPATCHER_VERSION,
};

// The volatile keeps the compiler from carrying the result into the caller. adjust_tail changes
// nothing here: it makes the verifier assume that a slot may move the packet, without which newer
// kernels refuse to attach programs that do.
#define SLOT(name)                                                                                 \
	__attribute__((noinline)) int name(struct xdp_md *ctx)                                     \
	{                                                                                          \
		volatile int ret = DISPATCHER_RETURN;                                              \
		if (!ctx)                                                                          \
			return XDP_ABORTED;                                                        \
		bpf_xdp_adjust_tail(ctx, 0);                                                       \
		return ret;                                                                        \
	}

SLOT(prog0)
SLOT(prog1)
SLOT(prog2)
SLOT(prog3)
SLOT(prog4)
SLOT(prog5)
SLOT(prog6)
SLOT(prog7)
SLOT(prog8)
SLOT(prog9)
SLOT(compat_test)

// Keeps the compiler from folding two ways into one, so that the verifier can drop a whole way.
#define APART(i) asm volatile("" : : "i"(i))

// Calls one slot and leaves unless the chain goes on after its action. The usual masks cost a
// comparison and no shift: the verifier knows the mask and keeps one of the three forms.
#define RUN(i)                                                                                     \
	if (enabled <= i) {                                                                        \
		ret = XDP_PASS;                                                                    \
		asm volatile("" : "+r"(ret) : "i"(i));                                           \
		return ret;                                                                        \
	}                                                                                          \
	ret = prog##i(ctx);                                                                        \
	proceed = config->chain_call_actions[i];                                                   \
	if (proceed == PROCEED_PASS) {                                                             \
		APART(i);                                                                          \
		if (ret != XDP_PASS)                                                               \
			return ret;                                                                \
	} else if (proceed == PROCEED_DEFAULT) {                                                   \
		APART(i);                                                                          \
		if (ret != XDP_PASS) {                                                             \
			APART(i);                                                                  \
			if (ret != DISPATCHER_RETURN)                                              \
				return ret;                                                        \
		}                                                                                  \
	} else {                                                                                   \
		APART(i);                                                                          \
		/* A shift by 32 or more would wrap around to another action's bit. */             \
		if (ret >= 32 || !(1U << ret & proceed))                                           \
			return ret;                                                                \
	}

SEC("xdp")
int xdp_dispatcher(struct xdp_md *ctx)
{
	volatile const struct xdp_dispatcher_config *config = &conf;
	__u32 ret, proceed;
	__u8 enabled;

	// Holds the address in a register instead of loading it for every slot.
	asm volatile("" : "+r"(config));
	enabled = config->num_progs_enabled;

	RUN(0)
	RUN(1)
	RUN(2)
	RUN(3)
	RUN(4)
	RUN(5)
	RUN(6)
	RUN(7)
	RUN(8)
	RUN(9)
	// No chain is this long. libxdp probes for extension programs by attaching to compat_test,
	// which has to be called from somewhere to exist.
	if (enabled > SLOTS)
		return compat_test(ctx);
	return XDP_PASS;
}

// A libxdp that finds no magic looks here: the version is the length of the array pointed to.
__uint(dispatcher_version, DISPATCHER_VERSION) SEC("xdp_metadata");

char _license[] SEC("license") = "Dual BSD/GPL";
