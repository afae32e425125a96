//! Generates the messages, the service and the description for reflection out of the .proto.
//! protox stands in for protoc, so that building needs no tool beside cargo.

use std::{env, error::Error, fs, path::Path};

use prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let described = protox::compile(["bpfman.proto"], ["proto"])?;
    let out = env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?;
    let descriptors = Path::new(&out).join("bpfman.bin");
    fs::write(descriptors, described.encode_to_vec())?;
    tonic_prost_build::configure()
        // Sorted, so that the same answer is always the same bytes.
        .btree_map(".")
        // A client brings its own connection.
        .build_transport(false)
        .compile_fds(described)?;
    Ok(())
}
