//! Values as upstream's internal types print: JSON with Go's field names, nothing omitted. Upstream: the JSON that
//! field.Error and apimachinery/pkg/util/diff make of types without JSON tags.
//!
//! Internal types have the fields of the versioned ones, but for a few that are known here by name. Whether Go had a nil or
//! an empty slice cannot be told; it prints as nil, which is what decoding leaves.

use api_types::Value;
use api_types::schema::Omit;
use api_types::value::{Struct, View};
use apimachinery::field::BadValue;

/// Fields that the internal type calls differently or, where the name is empty, lacks: type, versioned name, internal name.
const RENAMED: [(&str, &str, &str); 11] = [
    ("Event", "ReportingController", "ReportingController"),
    ("PodSpec", "DeprecatedServiceAccount", ""),
    ("PodSpec", "HostNetwork", ""),
    ("PodSpec", "HostPID", ""),
    ("PodSpec", "HostIPC", ""),
    ("PodSpec", "ShareProcessNamespace", ""),
    ("PodSpec", "HostUsers", ""),
    ("PodStatus", "PodIP", ""),
    ("NodeSpec", "PodCIDR", ""),
    ("ObjectReference", "UID", "UID"),
    ("TypeMeta", "APIVersion", "APIVersion"),
];

/// Fields that the internal type has elsewhere: type, field, and the field before it there, which is empty for the first.
const MOVED: [(&str, &str, &str); 21] = [
    ("VolumeSource", "Quobyte", "RBD"),
    ("PersistentVolumeSource", "Quobyte", "RBD"),
    ("PersistentVolumeSource", "FlexVolume", "ISCSI"),
    ("PodSpec", "SetHostnameAsFQDN", "Subdomain"),
    ("PodSpec", "PreemptionPolicy", "Priority"),
    ("PodSpec", "Overhead", "RuntimeClassName"),
    ("PodSecurityContext", "FSGroupChangePolicy", "FSGroup"),
    ("PodStatus", "QOSClass", "StartTime"),
    ("ServiceSpec", "Type", ""),
    ("ServiceSpec", "IPFamilies", "ClusterIPs"),
    ("ServiceSpec", "IPFamilyPolicy", "IPFamilies"),
    ("ServiceSpec", "ExternalName", "IPFamilyPolicy"),
    ("ServiceSpec", "LoadBalancerIP", "ExternalIPs"),
    ("ServiceSpec", "SessionAffinityConfig", "SessionAffinity"),
    ("JobSpec", "ActiveDeadlineSeconds", "SuccessPolicy"),
    ("JobStatus", "Terminating", "Active"),
    ("JobStatus", "Ready", "Terminating"),
    ("CSIDriverSpec", "FSGroupPolicy", "AttachRequired"),
    ("ContainerResourceMetricSource", "Container", "Name"),
    ("ContainerResourceMetricStatus", "Container", "Name"),
    (
        "ValidatingAdmissionPolicySpec",
        "MatchConditions",
        "Validations",
    ),
];

/// Fields that the pod's internal security context has, before its own, from the pod's versioned spec.
const HOST_FIELDS: [&str; 5] = [
    "HostNetwork",
    "HostPID",
    "HostIPC",
    "ShareProcessNamespace",
    "HostUsers",
];

/// A struct in the form in which errors print it.
pub fn bad_value(value: &dyn Struct) -> BadValue {
    let mut text = String::new();
    struct_node(value).compact(&mut text);
    BadValue::Text(text)
}

/// A list of structs, or another value, in the form in which errors print it.
pub fn bad_list(value: &dyn Value) -> BadValue {
    let mut text = String::new();
    node(value).compact(&mut text);
    BadValue::Text(text)
}

/// A struct that may be missing.
pub fn bad_option<T: Struct>(value: Option<&T>) -> BadValue {
    value.map_or_else(
        || BadValue::Text("null".to_owned()),
        |value| bad_value(value),
    )
}

/// The difference between two structs, as upstream prints it.
pub fn diff(old: &dyn Struct, new: &dyn Struct) -> String {
    let text = |value| {
        let mut text = String::new();
        struct_node(value).pretty(0, &mut text);
        text
    };
    unified_diff(&text(old), &text(new))
}

/// JSON whose objects keep their order.
enum Node {
    Text(String),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

impl Node {
    fn null() -> Node {
        Node::Text("null".to_owned())
    }

    fn string(text: &str) -> Node {
        Node::Text(go_string(text))
    }

    fn compact(&self, out: &mut String) {
        match self {
            Node::Text(text) => out.push_str(text),
            Node::List(items) => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    item.compact(out);
                }
                out.push(']');
            }
            Node::Object(fields) => {
                out.push('{');
                for (i, (name, value)) in fields.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    out.push_str(&go_string(name));
                    out.push(':');
                    value.compact(out);
                }
                out.push('}');
            }
        }
    }

    /// Go's MarshalIndent with one space.
    fn pretty(&self, depth: usize, out: &mut String) {
        let line = |out: &mut String, depth: usize| {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', depth));
        };
        match self {
            Node::List(items) if !items.is_empty() => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    line(out, depth + 1);
                    item.pretty(depth + 1, out);
                }
                line(out, depth);
                out.push(']');
            }
            Node::Object(fields) if !fields.is_empty() => {
                out.push('{');
                for (i, (name, value)) in fields.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    line(out, depth + 1);
                    out.push_str(&go_string(name));
                    out.push_str(": ");
                    value.pretty(depth + 1, out);
                }
                line(out, depth);
                out.push('}');
            }
            other => other.compact(out),
        }
    }
}

/// A string as Go's encoding/json writes it.
fn go_string(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

/// Whether upstream has no internal form of the type, so that it prints with JSON's names.
fn is_versioned(value: &dyn Struct) -> bool {
    value.schema().package.starts_with("k8s.io/apimachinery")
}

fn struct_node(value: &dyn Struct) -> Node {
    let mut out = Vec::new();
    if is_versioned(value) {
        fill_versioned(value, &mut out);
    } else {
        fill_internal(value, &mut out);
    }
    Node::Object(out)
}

fn fill_versioned(value: &dyn Struct, out: &mut Vec<(String, Node)>) {
    for (index, field) in value.schema().fields.iter().enumerate() {
        let view = value.get(index).view();
        let empty = match &view {
            View::Nil => true,
            View::String(text) => text.is_empty(),
            View::List(list) => list.is_empty(),
            View::StringMap(map) => map.is_empty(),
            View::Map(map) => map.is_empty(),
            View::Bool(on) => !on,
            View::Int32(number) => *number == 0,
            View::Int64(number) => *number == 0,
            View::RawJson(raw) => raw.is_empty(),
            View::Time(time) => field.omit == Omit::Zero && time.is_zero(),
            _ => false,
        };
        match view {
            View::Struct(inner) if field.inline => fill_versioned(inner, out),
            _ if empty && field.omit != Omit::Never => {}
            _ => out.push((field.json.to_owned(), node(value.get(index)))),
        }
    }
}

fn fill_internal(value: &dyn Struct, out: &mut Vec<(String, Node)>) {
    let schema = value.schema();
    for (index, field) in schema.fields.iter().enumerate() {
        let renamed = RENAMED
            .iter()
            .find(|(ty, go, _)| *ty == schema.name && *go == field.go);
        let name = renamed.map_or(field.go, |(_, _, name)| *name);
        if name.is_empty() {
            continue;
        }
        let view = value.get(index).view();
        match view {
            // Internal types embed metadata without a name of its own.
            View::Struct(inner)
                if (field.inline || field.go == "ObjectMeta") && is_versioned(inner) =>
            {
                fill_versioned(inner, out)
            }
            View::Struct(inner) if field.inline => fill_internal(inner, out),
            _ if schema.name == "PodSpec" && name == "SecurityContext" => {
                out.push((
                    name.to_owned(),
                    pod_security_context(value, value.get(index)),
                ));
            }
            _ => out.push((name.to_owned(), node(value.get(index)))),
        }
    }
    for (_, moved, before) in MOVED.iter().filter(|(ty, ..)| *ty == schema.name) {
        let position =
            |out: &[(String, Node)], go: &str| out.iter().position(|(name, _)| name == go);
        if let Some(from) = position(out, moved) {
            let field = out.remove(from);
            let to = match *before {
                "" => 0,
                before => position(out, before).map_or(from, |before| before + 1),
            };
            out.insert(to, field);
        }
    }
}

fn pod_security_context(spec: &dyn Struct, context: &dyn Value) -> Node {
    let host: Vec<(String, Node)> = HOST_FIELDS
        .iter()
        .filter_map(|go| {
            let (index, _) = spec.schema().field(go)?;
            Some(((*go).to_owned(), node(spec.get(index))))
        })
        .collect();
    match node(context) {
        Node::Object(fields) => Node::Object(host.into_iter().chain(fields).collect()),
        other => other,
    }
}

fn node(value: &dyn Value) -> Node {
    match value.view() {
        View::String(text) => Node::string(text),
        View::Bool(on) => Node::Text(on.to_string()),
        View::Int32(number) => Node::Text(number.to_string()),
        View::Int64(number) => Node::Text(number.to_string()),
        View::Uint32(number) => Node::Text(number.to_string()),
        View::Float64(number) => Node::Text(number.to_string()),
        View::Float32(number) => Node::Text(number.to_string()),
        View::Bytes(bytes) if bytes.0.is_empty() => Node::null(),
        View::Bytes(bytes) => {
            use base64::Engine as _;
            Node::string(&base64::engine::general_purpose::STANDARD.encode(&bytes.0))
        }
        View::Quantity(quantity) => Node::string(&quantity.to_string()),
        View::Time(time) if time.is_zero() => Node::null(),
        View::Time(time) => Node::string(&time.to_string()),
        View::MicroTime(time) if time.is_zero() => Node::null(),
        View::MicroTime(time) => Node::string(&time.to_string()),
        View::Duration(duration) => Node::string(&apimachinery::duration::format(duration.0)),
        View::IntOrString(api_types::IntOrString::Int(number)) => Node::Text(number.to_string()),
        View::IntOrString(api_types::IntOrString::String(text)) => Node::string(text),
        View::RawJson(raw) if raw.is_empty() => Node::null(),
        View::RawJson(raw) => Node::Text(String::from_utf8_lossy(raw).into_owned()),
        View::TimeOrMetaDuration(_) | View::Nil => Node::null(),
        View::Struct(inner) => struct_node(inner),
        View::Pointer(inner) => node(inner),
        View::List(list) if list.is_empty() => Node::null(),
        View::List(list) => Node::List((0..list.len()).map(|i| node(list.item(i))).collect()),
        View::StringMap(map) if map.is_empty() => Node::null(),
        View::StringMap(map) => {
            let entries = map
                .iter()
                .map(|(key, text)| (key.clone(), Node::string(text)));
            Node::Object(entries.collect())
        }
        View::Map(map) if map.is_empty() => Node::null(),
        View::Map(map) => {
            let entries = map.entries().into_iter();
            Node::Object(
                entries
                    .map(|(key, value)| (key.to_owned(), node(value)))
                    .collect(),
            )
        }
    }
}

/// One step of turning the old lines into the new ones.
#[derive(Clone, Copy, PartialEq)]
enum Tag {
    Equal,
    Replace,
    Delete,
    Insert,
}

#[derive(Clone, Copy)]
struct OpCode {
    tag: Tag,
    a: (usize, usize),
    b: (usize, usize),
}

/// The unified form of the difference of two texts with three lines of context, as Python's difflib makes it.
fn unified_diff(old: &str, new: &str) -> String {
    const CONTEXT: usize = 3;
    let (a, b): (Vec<&str>, Vec<&str>) = (old.split('\n').collect(), new.split('\n').collect());
    let mut codes = op_codes(&a, &b);
    if codes.is_empty() {
        codes.push(OpCode {
            tag: Tag::Equal,
            a: (0, 1),
            b: (0, 1),
        });
    }
    if let Some(first) = codes.first_mut().filter(|code| code.tag == Tag::Equal) {
        first.a.0 = first.a.0.max(first.a.1.saturating_sub(CONTEXT));
        first.b.0 = first.b.0.max(first.b.1.saturating_sub(CONTEXT));
    }
    if let Some(last) = codes.last_mut().filter(|code| code.tag == Tag::Equal) {
        last.a.1 = last.a.1.min(last.a.0 + CONTEXT);
        last.b.1 = last.b.1.min(last.b.0 + CONTEXT);
    }
    let mut groups: Vec<Vec<OpCode>> = vec![Vec::new()];
    for mut code in codes {
        let group_ends = code.tag == Tag::Equal && code.a.1 - code.a.0 > 2 * CONTEXT;
        if group_ends {
            let head = OpCode {
                a: (code.a.0, code.a.1.min(code.a.0 + CONTEXT)),
                b: (code.b.0, code.b.1.min(code.b.0 + CONTEXT)),
                ..code
            };
            groups
                .last_mut()
                .into_iter()
                .for_each(|group| group.push(head));
            groups.push(Vec::new());
            code.a.0 = code.a.0.max(code.a.1 - CONTEXT);
            code.b.0 = code.b.0.max(code.b.1 - CONTEXT);
        }
        groups
            .last_mut()
            .into_iter()
            .for_each(|group| group.push(code));
    }
    let mut out = String::new();
    for group in groups {
        let (Some(first), Some(last)) = (group.first(), group.last()) else {
            continue;
        };
        if group.len() == 1 && first.tag == Tag::Equal {
            continue;
        }
        out.push_str(&format!(
            "@@ -{} +{} @@\n",
            range(first.a.0, last.a.1),
            range(first.b.0, last.b.1)
        ));
        for code in &group {
            let mut lines = |sign: char, lines: &[&str]| {
                for line in lines {
                    out.push(sign);
                    out.push_str(line);
                    out.push('\n');
                }
            };
            match code.tag {
                Tag::Equal => lines(' ', &a[code.a.0..code.a.1]),
                _ => {
                    lines('-', &a[code.a.0..code.a.1]);
                    lines('+', &b[code.b.0..code.b.1]);
                }
            }
        }
    }
    out
}

fn range(start: usize, stop: usize) -> String {
    match stop - start {
        1 => (start + 1).to_string(),
        0 => format!("{start},0"),
        length => format!("{},{length}", start + 1),
    }
}

fn op_codes(a: &[&str], b: &[&str]) -> Vec<OpCode> {
    let mut matcher = Matcher {
        a,
        b,
        positions: popular_free_positions(b),
        left: MOST_COMPARED,
        blocks: Vec::new(),
    };
    matcher.matching_blocks((0, a.len()), (0, b.len()), 0);
    let mut blocks = matcher.blocks;
    blocks.push((a.len(), b.len(), 0));
    let (mut i, mut j) = (0, 0);
    let mut codes = Vec::new();
    for (at_a, at_b, size) in merge_adjacent(blocks) {
        let tag = match (i < at_a, j < at_b) {
            (true, true) => Some(Tag::Replace),
            (true, false) => Some(Tag::Delete),
            (false, true) => Some(Tag::Insert),
            (false, false) => None,
        };
        if let Some(tag) = tag {
            codes.push(OpCode {
                tag,
                a: (i, at_a),
                b: (j, at_b),
            });
        }
        (i, j) = (at_a + size, at_b + size);
        if size > 0 {
            codes.push(OpCode {
                tag: Tag::Equal,
                a: (at_a, i),
                b: (at_b, j),
            });
        }
    }
    codes
}

fn merge_adjacent(blocks: Vec<(usize, usize, usize)>) -> Vec<(usize, usize, usize)> {
    let mut merged: Vec<(usize, usize, usize)> = Vec::new();
    for (i, j, size) in blocks {
        match merged.last_mut() {
            Some(last) if size > 0 && last.0 + last.2 == i && last.1 + last.2 == j => {
                last.2 += size
            }
            _ => merged.push((i, j, size)),
        }
    }
    merged
}

/// Where each line is in `b`. In long texts, lines that are very frequent are left out, as difflib does.
fn popular_free_positions<'a>(b: &[&'a str]) -> std::collections::HashMap<&'a str, Vec<usize>> {
    let mut positions: std::collections::HashMap<&str, Vec<usize>> =
        std::collections::HashMap::new();
    for (j, line) in b.iter().enumerate() {
        positions.entry(line).or_default().push(j);
    }
    if b.len() >= 200 {
        let limit = b.len() / 100 + 1;
        positions.retain(|_, at| at.len() <= limit);
    }
    positions
}

/// What a diff may cost, in lines that are compared, and how deep it looks. What is left then counts as replaced.
const MOST_COMPARED: usize = 10_000_000;
const MOST_DEPTH: usize = 100;

struct Matcher<'a> {
    a: &'a [&'a str],
    b: &'a [&'a str],
    positions: std::collections::HashMap<&'a str, Vec<usize>>,
    left: usize,
    blocks: Vec<(usize, usize, usize)>,
}

impl Matcher<'_> {
    fn matching_blocks(
        &mut self,
        (mut a_low, a_high): (usize, usize),
        (mut b_low, b_high): (usize, usize),
        depth: usize,
    ) {
        loop {
            let (i, j, size) = self.longest_match((a_low, a_high), (b_low, b_high));
            if size == 0 {
                return;
            }
            if a_low < i && b_low < j && depth < MOST_DEPTH {
                self.matching_blocks((a_low, i), (b_low, j), depth + 1);
            }
            self.blocks.push((i, j, size));
            (a_low, b_low) = (i + size, j + size);
            if a_low >= a_high || b_low >= b_high {
                return;
            }
        }
    }

    fn longest_match(
        &mut self,
        (a_low, a_high): (usize, usize),
        (b_low, b_high): (usize, usize),
    ) -> (usize, usize, usize) {
        let (a, b) = (self.a, self.b);
        let (mut best_i, mut best_j, mut best) = (a_low, b_low, 0);
        let mut lengths: std::collections::HashMap<usize, usize> = std::collections::HashMap::new();
        for (i, line) in a.iter().enumerate().take(a_high).skip(a_low) {
            let at = self.positions.get(line).map_or(&[][..], Vec::as_slice);
            let at = at
                .get(at.partition_point(|j| *j < b_low)..)
                .unwrap_or_default();
            let mut next = std::collections::HashMap::new();
            if self.left == 0 {
                return (a_low, b_low, 0);
            }
            self.left -= 1;
            for &j in at {
                self.left = self.left.saturating_sub(1);
                if j >= b_high {
                    break;
                }
                let length = j
                    .checked_sub(1)
                    .and_then(|j| lengths.get(&j))
                    .copied()
                    .unwrap_or(0)
                    + 1;
                next.insert(j, length);
                if length > best {
                    (best_i, best_j, best) = (i + 1 - length, j + 1 - length, length);
                }
            }
            lengths = next;
        }
        while best_i > a_low && best_j > b_low && a[best_i - 1] == b[best_j - 1] {
            (best_i, best_j, best) = (best_i - 1, best_j - 1, best + 1);
        }
        while best_i + best < a_high
            && best_j + best < b_high
            && a[best_i + best] == b[best_j + best]
        {
            best += 1;
        }
        (best_i, best_j, best)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_line_prints_with_its_surroundings() {
        let old = "a\nb\nc\nd\ne\nf\ng";
        let new = "a\nb\nc\nd\nE\nf\ng";
        let want = "@@ -2,6 +2,6 @@\n b\n c\n d\n-e\n+E\n f\n g\n";
        assert_eq!(unified_diff(old, new), want);
        assert_eq!(unified_diff(old, old), "");
    }

    #[test]
    fn a_diff_of_many_lines_ends() {
        let text = |value: char| -> String {
            let lines = (0..20_000).map(|n| format!("name {n}\nvalue {value}{n}\n"));
            lines.collect()
        };
        let diff = unified_diff(&text('a'), &text('b'));
        for line in ["-value a0", "+value b0", "-value a19999", "+value b19999"] {
            assert!(diff.lines().any(|found| found == line), "{line}");
        }
    }

    #[test]
    fn fields_stand_where_the_internal_type_has_them() {
        let template = api_types::core::v1::PodTemplateSpec::default();
        let BadValue::Text(text) = bad_value(&template) else {
            panic!("a struct prints as JSON");
        };
        assert!(text.starts_with(r#"{"Spec":{"Volumes":null"#), "{text}");
        for pair in [
            r#""Subdomain":"","SetHostnameAsFQDN":null,"Affinity""#,
            r#""Priority":null,"PreemptionPolicy":null,"DNSConfig""#,
            r#""RuntimeClassName":null,"Overhead":null,"EnableServiceLinks""#,
        ] {
            assert!(text.contains(pair), "{pair} in {text}");
        }
        let mut labelled = template;
        labelled
            .metadata
            .labels
            .insert("a".to_owned(), "b".to_owned());
        let BadValue::Text(text) = bad_value(&labelled) else {
            panic!("a struct prints as JSON");
        };
        assert!(
            text.starts_with(r#"{"labels":{"a":"b"},"Spec":{"#),
            "{text}"
        );
    }

    #[test]
    fn distant_changes_are_separate() {
        let lines = |change: &str| {
            (0..30)
                .map(|i| {
                    if i == 2 || i == 20 {
                        format!("{change}{i}")
                    } else {
                        i.to_string()
                    }
                })
                .collect::<Vec<_>>()
                .join("\n")
        };
        let text = unified_diff(&lines("x"), &lines("y"));
        assert_eq!(text.matches("@@ -").count(), 2, "{text}");
        assert!(
            text.contains("@@ -1,6 +1,6 @@\n 0\n 1\n-x2\n+y2\n 3\n 4\n 5\n"),
            "{text}"
        );
    }
}
