//! bpfman: model.
