//! What all daemons that call gRPC services need. Upstream: google.golang.org/grpc/codes.

/// In the order of their numbers.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

/// The name of a status code as Go prints it.
pub fn code_name(code: i32) -> &'static str {
    let index = usize::try_from(code).ok();
    index
        .and_then(|index| CODES.get(index))
        .copied()
        .unwrap_or("Unknown")
}

#[cfg(test)]
mod tests {
    use super::code_name;

    #[test]
    fn codes_have_gos_names() {
        let names = [0, 1, 4, 14, 16, 17, -1].map(code_name);
        assert_eq!(
            names,
            [
                "OK",
                "Canceled",
                "DeadlineExceeded",
                "Unavailable",
                "Unauthenticated",
                "Unknown",
                "Unknown"
            ]
        );
    }
}
