//! Events as lines of text: the format `legacy`, and what errors show. Upstream: apiserver/pkg/audit/format.go.

use apimachinery::quote::quote;
use serde_json::Value;

use super::event::Line;

/// The event in one line, without a newline.
pub(super) fn text(line: &Line) -> String {
    let event: Value = serde_json::from_slice(line.json()).unwrap_or_default();
    let at = |pointer: &str| {
        let found = event.pointer(pointer).and_then(Value::as_str);
        found.filter(|text| !text.is_empty())
    };
    let list = |pointer: &str| {
        let found = event.pointer(pointer).and_then(Value::as_array)?;
        let quoted: Vec<String> = found.iter().filter_map(Value::as_str).map(quote).collect();
        Some(quoted.join(","))
    };
    let (username, groups) = match at("/user/username") {
        Some(name) => (name, list("/user/groups")),
        None => ("<none>", None),
    };
    let (as_user, as_groups) = match event.get("impersonatedUser") {
        Some(_) => (
            at("/impersonatedUser/username").unwrap_or_default(),
            list("/impersonatedUser/groups"),
        ),
        None => ("<self>", None),
    };
    let response = event.get("responseStatus").map_or_else(
        || "<deferred>".to_owned(),
        |status| {
            let code = status.get("code").and_then(Value::as_i64);
            code.unwrap_or(0).to_string()
        },
    );
    let or_empty = |pointer: &str| quote(at(pointer).unwrap_or_default());
    format!(
        "{} AUDIT: id={} stage={} ip={} method={} user={} groups={} as={} asgroups={} user-agent={} namespace={} uri={} response=\"{response}\"",
        nanoseconds(at("/requestReceivedTimestamp").unwrap_or_default()),
        or_empty("/auditID"),
        or_empty("/stage"),
        quote(at("/sourceIPs/0").unwrap_or("<unknown>")),
        or_empty("/verb"),
        quote(username),
        quote(&groups.unwrap_or_else(|| "<none>".to_owned())),
        quote(as_user),
        quote(&as_groups.unwrap_or_else(|| "<lookup>".to_owned())),
        or_empty("/userAgent"),
        quote(at("/objectRef/namespace").unwrap_or("<none>")),
        or_empty("/requestURI"),
    )
}

/// RFC3339Nano has no zeros at the end.
fn nanoseconds(time: &str) -> String {
    match time.strip_suffix('Z').and_then(|time| time.split_once('.')) {
        Some((seconds, fraction)) => match fraction.trim_end_matches('0') {
            "" => format!("{seconds}Z"),
            fraction => format!("{seconds}.{fraction}Z"),
        },
        None => time.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::Writer;
    use super::*;

    #[test]
    fn the_text_of_an_event() {
        let mut writer = Writer::new(0);
        writer.text("auditID", "1");
        writer.text("stage", "ResponseComplete");
        writer.text("requestURI", "/apis/rbac.authorization.k8s.io/v1/roles");
        writer.text("verb", "get");
        writer.json("user", br#"{"username":"admin","groups":["a","b"]}"#);
        writer.json("sourceIPs", br#"["127.0.0.1"]"#);
        writer.json("objectRef", br#"{"namespace":"default"}"#);
        writer.json("responseStatus", br#"{"metadata":{},"code":200}"#);
        writer.text("requestReceivedTimestamp", "2026-11-29T02:14:15.057600Z");
        assert_eq!(
            text(&writer.finish()),
            "2026-11-29T02:14:15.0576Z AUDIT: id=\"1\" stage=\"ResponseComplete\" ip=\"127.0.0.1\" method=\"get\" user=\"admin\" groups=\"\\\"a\\\",\\\"b\\\"\" as=\"<self>\" asgroups=\"<lookup>\" user-agent=\"\" namespace=\"default\" uri=\"/apis/rbac.authorization.k8s.io/v1/roles\" response=\"200\""
        );
        let nothing = text(&Writer::new(0).finish());
        assert!(nothing.contains("user=\"<none>\" groups=\"<none>\""));
        assert!(nothing.ends_with("namespace=\"<none>\" uri=\"\" response=\"<deferred>\""));
    }
}
