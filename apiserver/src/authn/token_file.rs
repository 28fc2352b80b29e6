//! `--token-auth-file`: tokens in a CSV file, one caller per line: token, user, uid and optionally "group1,group2".
//! Upstream: apiserver/pkg/authentication/token/tokenfile. The file is read once, at start.

use std::collections::{BTreeMap, HashMap};

use component_base::auth::{AuthenticateError, Authenticated, BoxFuture, UserInfo};

use super::tokens::TokenAuthenticator;

/// The file cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TokenFileError {
    #[error(
        "must have at least 3 columns (token, user name, user uid), found {columns} in line {line}"
    )]
    Columns { line: usize, columns: usize },
    #[error("has a quoted column that does not end in line {line}")]
    Quote { line: usize },
}

/// The tokens of the file.
pub struct TokenFile {
    users: HashMap<String, UserInfo>,
}

impl TokenFile {
    pub fn parse(text: &str) -> Result<Self, TokenFileError> {
        let mut users = HashMap::new();
        for (index, line) in text.lines().enumerate() {
            let line_number = index + 1;
            if line.trim().is_empty() {
                continue;
            }
            let columns = columns(line).ok_or(TokenFileError::Quote { line: line_number })?;
            let [token, name, uid, rest @ ..] = columns.as_slice() else {
                return Err(TokenFileError::Columns {
                    line: line_number,
                    columns: columns.len(),
                });
            };
            // A line without a token is skipped and a repeated token means its last line, as upstream has it.
            if token.is_empty() {
                continue;
            }
            let groups = rest
                .first()
                .filter(|groups| !groups.is_empty())
                .map(|groups| {
                    groups
                        .split(',')
                        .map(|group| group.trim().to_owned())
                        .collect()
                })
                .unwrap_or_default();
            users.insert(
                token.clone(),
                UserInfo {
                    name: name.clone(),
                    uid: uid.clone(),
                    groups,
                    extra: BTreeMap::new(),
                },
            );
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
        let found = self.users.get(token).map(|user| Authenticated {
            user: user.clone(),
            ..Authenticated::default()
        });
        Box::pin(async move { Ok(found) })
    }
}

/// The columns of a CSV line (RFC 4180); None when a quote is left open.
fn columns(line: &str) -> Option<Vec<String>> {
    let mut columns = Vec::new();
    let mut column = String::new();
    let mut quoted = false;
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                column.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => columns.push(std::mem::take(&mut column)),
            _ => column.push(character),
        }
    }
    columns.push(column);
    (!quoted).then_some(columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let file = TokenFile::parse("t1,ann,1,\"dev,ops\"\nt2,bob,2\n\n,skipped,3\nt1,ann2,1\n")
            .expect("well formed");
        assert_eq!(file.users.len(), 2);
        assert_eq!(file.users["t1"].name, "ann2");
        assert_eq!(file.users["t2"].groups, Vec::<String>::new());
        let file = TokenFile::parse("t1,ann,1,\"dev,ops\"").expect("well formed");
        assert_eq!(file.users["t1"].groups, ["dev", "ops"]);
        assert_eq!(
            TokenFile::parse("a,b").err(),
            Some(TokenFileError::Columns {
                line: 1,
                columns: 2
            })
        );
        assert_eq!(
            TokenFile::parse("a,b,c,\"d").err(),
            Some(TokenFileError::Quote { line: 1 })
        );
    }
}
