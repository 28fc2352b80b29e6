//! The five real binaries, driven by kubectl.
