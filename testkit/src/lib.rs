//! bpfman: testkit.
