//! Builds OCI image archives from local files.
