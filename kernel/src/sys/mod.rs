//! The thin layer over the kernel and libbpf: one function a command, all `unsafe` of the project.
#![expect(
    unsafe_code,
    reason = "raw syscalls and C calls are wrapped here and nowhere else"
)]

pub(crate) mod bpf;
pub(crate) mod feature;
pub(crate) mod libbpf;
pub(crate) mod perf;
pub(crate) mod socket;
