//! Query parameters and the option kinds that are read from them. Upstream: metainternalversion.ParameterCodec and
//! apimachinery/pkg/conversion/queryparams.

/// A parsed query string: names and values in order, repeats kept.
#[derive(Clone, Debug, Default)]
pub struct Query {
    pairs: Vec<(String, String)>,
}

/// A parameter whose value cannot be read; the text is what clients see in a 400.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct QueryError(pub String);

impl Query {
    pub fn parse(query: &str) -> Query {
        Query {
            pairs: form_urlencoded::parse(query.as_bytes())
                .into_owned()
                .collect(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// The first value of a name.
    pub fn first(&self, name: &str) -> Option<&str> {
        self.pairs
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// All values of a name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        self.pairs
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    pub fn has(&self, name: &str) -> bool {
        self.first(name).is_some()
    }

    /// All pairs, for passing on.
    pub fn pairs(&self) -> &[(String, String)] {
        &self.pairs
    }

    pub fn text(&self, name: &str) -> String {
        self.first(name).unwrap_or_default().to_owned()
    }

    /// Upstream's idea of a boolean: anything but "false" and "0" is true.
    pub fn optional_bool(&self, name: &str) -> Option<bool> {
        self.first(name)
            .map(|value| !(value == "0" || value.eq_ignore_ascii_case("false")))
    }

    pub fn bool(&self, name: &str) -> bool {
        self.optional_bool(name).unwrap_or(false)
    }

    pub fn optional_i64(&self, name: &str) -> Result<Option<i64>, QueryError> {
        let Some(value) = self.first(name) else {
            return Ok(None);
        };
        parse_go_int(value).map(Some)
    }

    /// Whether the list options of this query parse, as upstream's request info factory needs to know.
    pub fn list_options_parse(&self) -> bool {
        self.optional_i64("timeoutSeconds").is_ok()
            && self.optional_i64("limit").is_ok()
            && self
                .first("labelSelector")
                .is_none_or(|text| apimachinery::labels::Selector::parse(text).is_ok())
            && self
                .first("fieldSelector")
                .is_none_or(|text| apimachinery::fields::Selector::parse(text).is_ok())
    }
}

/// Go's strconv.ParseInt(value, 10, 64) with its error texts.
pub fn parse_go_int(value: &str) -> Result<i64, QueryError> {
    use std::num::IntErrorKind;
    value.parse::<i64>().map_err(|error| {
        let reason = match error.kind() {
            IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        QueryError(format!(
            "strconv.ParseInt: parsing {}: {reason}",
            go_quote(value)
        ))
    })
}

/// Go's %q for ordinary text.
pub fn go_quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => {
                out.push_str(&format!("\\x{:02x}", c as u32))
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans_are_true_unless_false_or_zero() {
        let query = Query::parse("a=true&b=false&c=0&d=&e=no&f=FALSE");
        let got: Vec<bool> = ["a", "b", "c", "d", "e", "f", "missing"]
            .iter()
            .map(|name| query.bool(name))
            .collect();
        assert_eq!(got, [true, false, false, true, true, false, false]);
    }

    #[test]
    fn numbers_report_like_go() {
        let query = Query::parse("limit=x&big=99999999999999999999&ok=-3");
        assert_eq!(
            query.optional_i64("limit").unwrap_err().0,
            "strconv.ParseInt: parsing \"x\": invalid syntax"
        );
        assert_eq!(
            query.optional_i64("big").unwrap_err().0,
            "strconv.ParseInt: parsing \"99999999999999999999\": value out of range"
        );
        assert_eq!(query.optional_i64("ok").unwrap(), Some(-3));
        assert_eq!(query.optional_i64("none").unwrap(), None);
    }
}
