//! What Go says of a failed system call. Upstream: the error strings of Go's package syscall, which users know and search for.

/// The operating system's words alone, in lower case: `no such file or directory`.
pub fn text(error: &std::io::Error) -> String {
    let text = error.to_string();
    let Some((words, _)) = text.split_once(" (os error ") else {
        return text;
    };
    let mut characters = words.chars();
    characters.next().map_or_else(String::new, |first| {
        first.to_lowercase().chain(characters).collect()
    })
}

/// The error of an operation on a file: `open /etc/x: permission denied`.
pub fn on_path(operation: &str, path: &std::path::Path, error: &std::io::Error) -> String {
    format!("{operation} {}: {}", path.display(), text(error))
}

/// The error of reading a whole file. A folder can be opened like a file: it is the reading that fails.
pub fn on_reading(path: &std::path::Path, error: &std::io::Error) -> String {
    let operation = match error.kind() {
        std::io::ErrorKind::IsADirectory => "read",
        _ => "open",
    };
    on_path(operation, path, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_go_says() {
        let path = std::path::Path::new("/nonexistent/x");
        let error = std::fs::read(path).unwrap_err();
        assert_eq!(
            on_path("open", path, &error),
            "open /nonexistent/x: no such file or directory"
        );
        assert_eq!(
            text(&std::io::Error::from_raw_os_error(98)),
            "address already in use"
        );
        assert_eq!(text(&std::io::Error::other("Own words")), "Own words");
        let folder = std::path::Path::new("/");
        let error = std::fs::read(folder).unwrap_err();
        assert_eq!(on_reading(folder, &error), "read /: is a directory");
    }
}
