//! One file for each command: its arguments, its help and what it does.

pub(crate) mod completions;
pub(crate) mod get;
pub(crate) mod image;
pub(crate) mod list;
pub(crate) mod load;
pub(crate) mod manifest;
pub(crate) mod manpages;
pub(crate) mod unload;
