//! bpfman: manager.
