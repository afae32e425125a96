//! `bpfman image build` with real runtimes.
