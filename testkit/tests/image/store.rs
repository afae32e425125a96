//! The own store of images.
