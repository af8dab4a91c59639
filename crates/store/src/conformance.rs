//! The suite that every implementation of the store must pass.
