//! Hand-written types: those whose Go counterparts marshal themselves.

mod byte_string;
mod duration;
mod fields_v1;
mod int_or_string;
mod json;
mod micro_time;
mod quantity;
mod raw_extension;
mod time;
mod time_or_duration;

pub use byte_string::ByteString;
pub use duration::{Duration, ParseDurationError};
pub use fields_v1::FieldsV1;
pub use int_or_string::IntOrString;
pub use json::JSON;
pub use micro_time::MicroTime;
pub use quantity::{Format, ParseQuantityError, Quantity};
pub use raw_extension::RawExtension;
pub use time::{ParseTimeError, Time};
pub use time_or_duration::TimeOrMetaDuration;
