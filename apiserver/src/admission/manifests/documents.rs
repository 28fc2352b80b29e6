//! The documents of a folder. Upstream: plugin/manifest/loader.go and the YAMLReader of apimachinery.

use std::path::Path;

use apimachinery::os_error;
use apimachinery::quote::quote;

use crate::config::reload::hash;

/// One document and the file that it is in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) file: String,
    pub(super) text: Vec<u8>,
}

const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// The documents of all files of a folder in the order of their names, and a hash of what the files say. Folders in it are not
/// looked into.
pub(super) fn read(folder: &Path) -> Result<(Vec<Text>, String), String> {
    let unreadable = |error: &std::io::Error| {
        format!(
            "failed to read manifest directory {}: {}",
            quote(&folder.display().to_string()),
            os_error::on_path("open", folder, error)
        )
    };
    let entries = std::fs::read_dir(folder).map_err(|error| unreadable(&error))?;
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| unreadable(&error))?;
        // A link to a folder is no folder here, as for upstream.
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let path = entry.path();
        let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
        if !is_folder && EXTENSIONS.iter().any(|known| extension == *known) {
            files.push(path);
        }
    }
    files.sort();
    let (mut documents, mut hashed) = (Vec::new(), Vec::new());
    for path in files {
        let file = path.display().to_string();
        let data = std::fs::read(&path).map_err(|error| {
            let why = os_error::on_reading(&path, &error);
            format!("failed to read file {}: {why}", quote(&file))
        })?;
        if data.is_empty() {
            continue;
        }
        hashed.extend_from_slice(&data);
        hashed.push(0);
        let texts = split(&data).map_err(|why| {
            format!(
                "failed to split YAML documents in file {}: {why}",
                quote(&file)
            )
        })?;
        documents.extend(texts.into_iter().map(|text| Text {
            file: file.clone(),
            text: text.to_vec(),
        }));
    }
    Ok((documents, hash(&hashed)))
}

/// What is between lines of `---`, without the space around it.
fn split(data: &[u8]) -> Result<Vec<&[u8]>, String> {
    let (mut documents, mut start, mut at) = (Vec::new(), 0, 0);
    for line in data.split_inclusive(|byte| *byte == b'\n') {
        let next = at + line.len();
        if let Some(rest) = line.strip_prefix(b"---") {
            let rest = rest.trim_ascii();
            if !rest.is_empty() && rest[0] != b'#' {
                let rest = String::from_utf8_lossy(rest);
                return Err(format!("invalid Yaml document separator: {rest}"));
            }
            documents.push(&data[start..at]);
            start = next;
        }
        at = next;
    }
    documents.push(&data[start..]);
    let documents = documents.into_iter().map(<[u8]>::trim_ascii);
    Ok(documents.filter(|text| !text.is_empty()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_between_separators() {
        let split = |text: &str| -> Result<Vec<String>, String> {
            let parts = split(text.as_bytes())?;
            let parts = parts.into_iter();
            Ok(parts
                .map(|part| String::from_utf8_lossy(part).into_owned())
                .collect())
        };
        let two = Ok(vec!["a: 1".to_owned(), "b: 2".to_owned()]);
        assert_eq!(split("a: 1\n---\nb: 2\n"), two);
        assert_eq!(split("---\r\na: 1\r\n--- # next\r\nb: 2\r\n---\r\n"), two);
        assert_eq!(split("a: 1\n---\n\n---\nb: 2"), two);
        assert_eq!(split(" ---\n"), Ok(vec!["---".to_owned()]));
        for (text, shown) in [("a: 1\n--- x\n", "x"), ("----\n", "-")] {
            let error = format!("invalid Yaml document separator: {shown}");
            assert_eq!(split(text), Err(error));
        }
    }

    #[test]
    fn files_are_read_in_order_and_hashed() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text);
        assert_eq!(read(folder.path()), Ok((Vec::new(), String::new())));
        write("b.YML", "b").unwrap();
        write("a.json", "a1\n---\na2").unwrap();
        write("empty.yaml", "").unwrap();
        write("c.txt", "c").unwrap();
        std::fs::create_dir(folder.path().join("d.yaml")).unwrap();
        let (texts, first) = read(folder.path()).unwrap();
        let texts: Vec<String> = texts
            .iter()
            .map(|text| String::from_utf8_lossy(&text.text).into_owned())
            .collect();
        assert_eq!(texts, ["a1", "a2", "b"]);
        assert_eq!(first, hash(b"a1\n---\na2\0b\0"));
        let missing = folder.path().join("missing");
        let shown = missing.display();
        let why = format!(
            "failed to read manifest directory \"{shown}\": open {shown}: no such file or directory"
        );
        assert_eq!(read(&missing), Err(why));
    }
}
