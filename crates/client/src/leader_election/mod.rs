//! Coming with the next change.
