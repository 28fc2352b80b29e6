//! Integration tests of the API types.

mod alike; // lists of objects that are much alike
mod fill; // values with every field set
mod golden; // upstream's recorded objects
mod hostile; // arbitrary bytes
mod openapi_diff; // an independent set of types
mod resources; // the resource table against recorded discovery documents
mod round_trip; // every kind, both encodings
mod strict; // unknown and duplicate fields, error texts
