//! Rules about the workspace's shape. They are tests (see `tests/main.rs`): a rule that nobody checks is a hope.
