// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The program that an interface runs in one direction when several TC programs share it: it
// calls up to ten slots in order, and a loader attaches one extension program to each slot.
// The same object serves both ways to attach: a TCX link and a cls_bpf filter on clsact.
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

#define MAGIC 237
#define VERSION 1
#define SLOTS 10
// What a slot returns while nothing is attached to it.
#define DISPATCHER_RETURN 30

struct tc_dispatcher_config {
	__u8 magic;
	__u8 dispatcher_version;
	__u8 num_progs_enabled;
	// 1 when attached through a TCX link, 0 for a cls_bpf filter in direct-action mode.
	__u8 is_tcx;
	// Bit `action + 1` of a slot's mask lets the chain go on after that action: unspec (-1) is
	// bit 0, trap (8) is bit 9, dispatcher_return (30) is bit 31.
	__u32 chain_call_actions[SLOTS];
	__u32 run_prios[SLOTS];
};

// Frozen before the load: the verifier knows each field and drops the branches that it rules out.
static volatile const struct tc_dispatcher_config conf = {
	.magic = MAGIC,
	.dispatcher_version = VERSION,
};

// The volatile keeps the compiler from carrying the result into the caller. pull_data makes the
// verifier assume that a slot may move the packet, without which newer kernels refuse to attach
// programs that do.
#define SLOT(name)                                                                                 \
	__attribute__((noinline)) int name(struct __sk_buff *skb)                                  \
	{                                                                                          \
		volatile int ret = DISPATCHER_RETURN;                                              \
		if (!skb)                                                                          \
			return TC_ACT_UNSPEC;                                                      \
		bpf_skb_pull_data(skb, 0);                                                         \
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

// The verdict for the hook that the dispatcher is attached to. cls_bpf takes ok, shot, stolen,
// trap and redirect and reads every other value as unspec. TCX knows pass, drop and redirect only
// and would stop at another value without acting on it: what consumes the packet becomes a drop
// and what cls_bpf reads as unspec says so, so that both hooks end in the same way.
static __always_inline int verdict(int ret)
{
	if (!conf.is_tcx)
		return ret;
	APART(SLOTS);
	if (ret == TC_ACT_OK || ret == TC_ACT_SHOT || ret == TC_ACT_REDIRECT)
		return ret;
	if (ret == TC_ACT_STOLEN || ret == TC_ACT_TRAP)
		return TC_ACT_SHOT;
	return TC_ACT_UNSPEC;
}

// Calls one slot and leaves unless the chain goes on after its action.
#define RUN(i)                                                                                     \
	if (enabled <= i) {                                                                        \
		ret = TC_ACT_UNSPEC;                                                               \
		asm volatile("" : "+r"(ret) : "i"(i));                                           \
		return ret;                                                                        \
	}                                                                                          \
	ret = prog##i(skb);                                                                        \
	bit = ret + 1;                                                                             \
	/* A shift by 32 or more would wrap around to another action's bit. */                     \
	if (bit >= 32 || !(1U << bit & config->chain_call_actions[i]))                             \
		goto leave;

// A chain whose every program lets the packet go on returns unspec: the programs and filters of
// others behind it still run.
SEC("tc")
int tc_dispatcher(struct __sk_buff *skb)
{
	volatile const struct tc_dispatcher_config *config = &conf;
	__u32 bit;
	__u8 enabled;
	int ret;

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
	// No chain is this long: the call keeps compat_test in the program for whoever loads a
	// dispatcher with eleven slots to learn whether the kernel takes extension programs.
	if (enabled > SLOTS)
		return compat_test(skb);
	return TC_ACT_UNSPEC;
leave:
	return verdict(ret);
}

char _license[] SEC("license") = "Dual BSD/GPL";
