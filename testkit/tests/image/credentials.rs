//! Credentials as people keep them.
