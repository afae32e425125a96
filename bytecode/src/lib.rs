//! bpfman: bytecode.
