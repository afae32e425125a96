//! Reading, expanding and planning, without a kernel.
