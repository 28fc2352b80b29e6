//! Rules about the workspace's shape, as tests.
