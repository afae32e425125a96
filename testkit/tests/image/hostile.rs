//! Registries that mean ill.
