//! `--token-auth-file`: tokens in a CSV file, one caller per record: token, user, uid and optionally "group1,group2".
//! Upstream: apiserver/pkg/authentication/token/tokenfile. The file is read once, at start.

use std::collections::{BTreeMap, HashMap};

use component_base::auth::{AuthenticateError, Authenticated, BoxFuture, UserInfo};

use super::tokens::{TokenAuthenticator, cache_key};

/// The file cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TokenFileError {
    #[error(
        "token file '{path}' must have at least 3 columns (token, user name, user uid), found {columns}"
    )]
    Columns { path: String, columns: usize },
    #[error("{0}")]
    Csv(CsvError),
}

/// The tokens of the file, by their hashes: how long it takes to look one up tells nothing of the others.
pub struct TokenFile {
    users: HashMap<[u8; 32], UserInfo>,
}

impl TokenFile {
    /// `path` is for messages.
    pub fn parse(path: &str, text: &str) -> Result<Self, TokenFileError> {
        let mut users = HashMap::new();
        for (index, record) in Records::of(text).enumerate() {
            let record = record.map_err(TokenFileError::Csv)?;
            let number = index + 1;
            let [token, name, uid, rest @ ..] = record.as_slice() else {
                return Err(TokenFileError::Columns {
                    path: path.to_owned(),
                    columns: record.len(),
                });
            };
            if token.is_empty() {
                tracing::warn!(
                    "empty token has been found in token file '{path}', record number '{number}'"
                );
                continue;
            }
            let groups = rest.first().map(|groups| groups.split(','));
            let user = UserInfo {
                name: name.clone(),
                uid: uid.clone(),
                groups: groups.into_iter().flatten().map(str::to_owned).collect(),
                extra: BTreeMap::new(),
            };
            // The last one counts.
            if users.insert(key_of(token), user).is_some() {
                tracing::warn!(
                    "duplicate token has been found in token file '{path}', record number '{number}'"
                );
            }
        }
        Ok(Self { users })
    }
}

impl TokenAuthenticator for TokenFile {
    fn authenticate_token<'a>(
        &'a self,
        token: &'a str,
        _: &'a [String],
    ) -> BoxFuture<'a, Result<Option<Authenticated>, AuthenticateError>> {
        let found = self.users.get(&key_of(token)).map(|user| Authenticated {
            user: user.clone(),
            ..Authenticated::default()
        });
        Box::pin(async move { Ok(found) })
    }
}

fn key_of(token: &str) -> [u8; 32] {
    cache_key(token, &[])
}

/// Where a text is no CSV. Columns count bytes. The words are Go's.
#[derive(Debug, PartialEq, Eq)]
pub struct CsvError {
    /// The first line of the record.
    start: usize,
    line: usize,
    column: usize,
    what: &'static str,
}

impl std::fmt::Display for CsvError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            start,
            line,
            column,
            what,
        } = self;
        if start != line {
            write!(f, "record on line {start}; ")?;
        }
        write!(f, "parse error on line {line}, column {column}: {what}")
    }
}

const BARE_QUOTE: &str = r#"bare " in non-quoted-field"#;
const WRONG_QUOTE: &str = r#"extraneous or missing " in quoted-field"#;

/// The records of a CSV text (RFC 4180), as Go's encoding/csv reads them: empty lines are none, and a quoted field may go over
/// several lines. What follows an error is not to be read.
struct Records {
    /// With the ends of lines of Unix.
    text: String,
    read: usize,
    /// The number of the line that was read last.
    line: usize,
}

impl Records {
    fn of(text: &str) -> Self {
        let text = text.strip_suffix('\r').unwrap_or(text);
        Self {
            text: text.replace("\r\n", "\n"),
            read: 0,
            line: 0,
        }
    }
}

impl Iterator for Records {
    type Item = Result<Vec<String>, CsvError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut lines = self.text[self.read..].split_inclusive('\n');
        let mut line = loop {
            let line = lines.next()?;
            (self.read, self.line) = (self.read + line.len(), self.line + 1);
            if line != "\n" {
                break line;
            }
        };
        let start = self.line;
        let mut column = 1;
        let mut record = Vec::new();
        let wrong = |line, column, what| {
            Some(Err(CsvError {
                start,
                line,
                column,
                what,
            }))
        };
        loop {
            let Some(quoted) = line.strip_prefix('"') else {
                let (field, rest) = match line.split_once(',') {
                    Some((field, rest)) => (field, Some(rest)),
                    None => (line.strip_suffix('\n').unwrap_or(line), None),
                };
                if let Some(at) = field.find('"') {
                    return wrong(self.line, column + at, BARE_QUOTE);
                }
                record.push(field.to_owned());
                let Some(rest) = rest else {
                    return Some(Ok(record));
                };
                column += field.len() + 1;
                line = rest;
                continue;
            };
            line = quoted;
            column += 1;
            let mut field = String::new();
            loop {
                let Some(at) = line.find('"') else {
                    field.push_str(line);
                    column += line.len();
                    let Some(next) = lines.next() else {
                        return wrong(self.line, column, WRONG_QUOTE);
                    };
                    (self.read, self.line) = (self.read + next.len(), self.line + 1);
                    line = next;
                    column = 1;
                    continue;
                };
                field.push_str(&line[..at]);
                line = &line[at + 1..];
                column += at + 1;
                let Some(rest) = line.strip_prefix('"') else {
                    break;
                };
                field.push('"');
                line = rest;
                column += 1;
            }
            record.push(field);
            match line.strip_prefix(',') {
                Some(rest) => {
                    line = rest;
                    column += 1;
                }
                None if line.is_empty() || line == "\n" => return Some(Ok(record)),
                None => return wrong(self.line, column - 1, WRONG_QUOTE),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> TokenFile {
        TokenFile::parse("x", text).expect("well formed")
    }

    #[track_caller]
    fn check(text: &str, error: &str) {
        let refused = TokenFile::parse("x", text).err().expect("refused");
        assert_eq!(refused.to_string(), error);
    }

    #[test]
    fn records_are_users() {
        let file = parse(
            "t1,ann,1,\"dev,ops\"\r\n\nt2,bob,2\n\n,skipped,3\nt1,ann2,1,\"a, b\",x\r\nt3,eve,3,\r",
        );
        assert_eq!(file.users.len(), 3);
        assert_eq!(file.users[&key_of("t1")].name, "ann2");
        assert_eq!(file.users[&key_of("t1")].groups, ["a", " b"]);
        assert_eq!(file.users[&key_of("t2")].groups, Vec::<String>::new());
        assert_eq!(file.users[&key_of("t3")].groups, [""]);
    }

    #[test]
    fn quoted_fields_may_have_lines_and_quotes() {
        let file = parse("t1,\"two\r\nlines\",1\n\"t\"\"2\",\"\",\"a,b\"\n");
        assert_eq!(file.users[&key_of("t1")].name, "two\nlines");
        assert_eq!(file.users[&key_of("t\"2")].name, "");
        assert_eq!(file.users[&key_of("t\"2")].uid, "a,b");
    }

    #[test]
    fn errors_are_gos() {
        let columns = |found: usize| {
            format!(
                "token file 'x' must have at least 3 columns (token, user name, user uid), found {found}"
            )
        };
        check("a,b", &columns(2));
        check("a,b,c\n  \n", &columns(1));
        check(
            "a,b,c,\"d",
            r#"parse error on line 1, column 9: extraneous or missing " in quoted-field"#,
        );
        check(
            "\na,\"b\nc,d",
            r#"record on line 2; parse error on line 3, column 4: extraneous or missing " in quoted-field"#,
        );
        check(
            "a,\"b\" ,c",
            r#"parse error on line 1, column 5: extraneous or missing " in quoted-field"#,
        );
        check(
            "ä,b\"b,c",
            r#"parse error on line 1, column 5: bare " in non-quoted-field"#,
        );
    }

    /// NCC-PCK: secrets were compared byte by byte until they differ.
    #[tokio::test]
    async fn ncc_pck_tokens_are_not_compared_as_they_are() {
        let file = TokenFile::parse("f", "a-long-secret,ann,1\n").expect("well formed");
        let knows = async |token: &str| {
            let found = file.authenticate_token(token, &[]).await;
            found.expect("nothing goes wrong").is_some()
        };
        assert!(knows("a-long-secret").await);
        for wrong in ["", "a", "a-long-secre", "a-long-secret2", "a-long-secreT"] {
            assert!(!knows(wrong).await, "{wrong}");
        }
        let mut kept = file.users.keys();
        let as_it_is = |key: &[u8; 32]| key.starts_with(b"a-long-secret");
        assert!(!kept.any(as_it_is));
    }
}
