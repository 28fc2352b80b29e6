//! Objects of any kind with some of their fields set, through reflection.

use api_types::kinds::{KINDS, KindInfo};
use api_types::schema::JsonForm;
use api_types::{
    Duration, IntOrString, MicroTime, Quantity, Struct, Time, TimeOrMetaDuration, Value, ViewMut,
};

/// The kind that a number stands for.
pub(crate) fn kind(number: u32) -> &'static KindInfo {
    &KINDS[number as usize % KINDS.len()]
}

/// An object of the number's kind. Numbers differ in which fields are set: few for most, so that mutations meet them.
pub(crate) fn object(number: u32) -> Box<dyn Struct> {
    object_of(kind(number), number)
}

/// An object of a kind, the same for the same number.
pub(crate) fn object_of(info: &KindInfo, number: u32) -> Box<dyn Struct> {
    let mut value = (info.new)();
    let mut fill = Fill {
        state: u64::from(number) ^ 0x9e37_79b9_7f4a_7c15,
        // Hundreds of fields at most: what is tried thousands of times must be small.
        left: 20 + number % 7 * 40,
    };
    fill.fields(&mut *value, &mut Vec::new());
    if let Some(meta) = value.object_meta_mut() {
        meta.name = "seed".to_owned();
        meta.managed_fields.clear();
    }
    value
}

struct Fill {
    state: u64,
    left: u32,
}

impl Fill {
    /// xorshift64: which fields are set depends on the number alone.
    fn next(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }

    fn fields(&mut self, target: &mut dyn Struct, within: &mut Vec<&'static str>) {
        let schema = target.schema();
        within.push(schema.name);
        let only = match schema.json_form {
            JsonForm::Object | JsonForm::Custom => None,
            JsonForm::SchemaOrArray => Some(usize::from(within.len().is_multiple_of(2))),
            JsonForm::SchemaOrStringArray => Some(1),
            JsonForm::SchemaOrBool => Some(0),
        };
        for (index, field) in schema.fields.iter().enumerate() {
            let is_type_meta = schema.kind.is_some() && index == 0;
            if is_type_meta || only.is_some_and(|only| only != index) || self.left == 0 {
                continue;
            }
            // The spec and what merges by key is where patches and applies have most to do.
            let likely = field.inline || within.len() == 1 || !field.patch_merge_key.is_empty();
            let wanted = self.next();
            if likely || wanted.is_multiple_of(3) {
                self.left -= 1;
                self.value(target.get_mut(index), field.json, within);
            }
        }
        within.pop();
    }

    fn value(&mut self, value: &mut dyn Value, name: &str, within: &mut Vec<&'static str>) {
        let salt = self.next();
        match value.view_mut() {
            ViewMut::String(v) => *v = format!("{}{}", name.to_lowercase(), salt % 3),
            ViewMut::Bool(v) => *v = salt.is_multiple_of(2),
            ViewMut::Int32(v) => *v = [1, 0, -7, i32::MAX, 80][salt as usize % 5],
            ViewMut::Int64(v) => *v = [1, 0, i64::MIN, i64::MAX, 30][salt as usize % 5],
            ViewMut::Uint32(v) => *v = 3,
            ViewMut::Float64(v) => *v = 1.5e-7,
            ViewMut::Float32(v) => *v = 0.1,
            ViewMut::Bytes(v) => v.0 = vec![0, 255, salt as u8],
            ViewMut::Quantity(v) => {
                *v = Quantity::parse(["1500Mi", "1", "100m", "1.5e3"][salt as usize % 4])
                    .unwrap_or_default();
            }
            ViewMut::Time(v) => *v = Time::from_unix(1_772_323_199),
            ViewMut::MicroTime(v) => *v = MicroTime::from_unix_micros(1_772_323_199_000_120),
            ViewMut::Duration(v) => *v = Duration::from_millis(90_500),
            ViewMut::TimeOrMetaDuration(v) => {
                *v = TimeOrMetaDuration {
                    duration: Duration::from_secs(5),
                    serialize_as_string: true,
                };
            }
            ViewMut::IntOrString(v) => {
                *v = if salt.is_multiple_of(2) {
                    IntOrString::Int(80)
                } else {
                    IntOrString::String("25%".into())
                };
            }
            ViewMut::RawJson(v) => *v = br#"{"kind":"X","list":[1,null,"\u003c"]}"#.to_vec(),
            ViewMut::Struct(v) => {
                if !too_deep(v.schema().name, within) {
                    self.fields(v, within);
                }
            }
            ViewMut::Pointer(v) => {
                if let ViewMut::Struct(inner) = v.get_or_default().view_mut()
                    && too_deep(inner.schema().name, within)
                {
                    v.clear();
                    return;
                }
                self.value(v.get_or_default(), name, within);
                // An alternative that was left empty would be `null`, which is a nil pointer.
                if let ViewMut::Struct(inner) = v.get_or_default().view_mut()
                    && inner.schema().json_form != JsonForm::Object
                    && api_types::value::is_zero(inner)
                {
                    v.clear();
                }
            }
            ViewMut::List(v) => {
                for _ in 0..1 + salt % 3 {
                    if let ViewMut::Struct(inner) = v.push_default().view_mut()
                        && too_deep(inner.schema().name, within)
                    {
                        v.clear();
                        return;
                    }
                    let last = v.len() - 1;
                    self.value(v.item_mut(last), name, within);
                }
            }
            ViewMut::StringMap(v) => {
                v.insert("b".into(), name.into());
                v.insert("a".into(), String::new());
            }
            ViewMut::Map(v) => {
                for key in ["b", "a"] {
                    if let ViewMut::Struct(inner) = v.insert_default(key.into()).view_mut()
                        && too_deep(inner.schema().name, within)
                    {
                        v.clear();
                        return;
                    }
                    if let Some(slot) = v.value_mut(key) {
                        self.value(slot, name, within);
                    }
                }
            }
        }
    }
}

fn too_deep(name: &str, within: &[&str]) -> bool {
    within.iter().filter(|open| **open == name).count() >= 2
}

/// The kind of the resource that a number stands for: something that is stored, patched and applied.
pub(crate) fn resource(number: u32) -> &'static KindInfo {
    let rows = api_types::resources::RESOURCES;
    let row = &rows[number as usize % rows.len()];
    api_types::kinds::lookup(row.group, row.version, row.kind).expect("resources have kinds")
}
