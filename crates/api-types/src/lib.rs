//! The Kubernetes API types, generated from the schema folder, with their JSON and protobuf codecs.
