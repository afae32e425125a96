//! bpfman: kernel.
