//! Values with every field set, built through reflection.

use api_types::schema::JsonForm;
use api_types::{
    Duration, IntOrString, MicroTime, Quantity, Struct, Time, TimeOrMetaDuration, Value, ViewMut,
};

/// Sets every field of a struct. Recursive types end at the second level.
pub(crate) fn fill_struct(target: &mut dyn Struct, within: &mut Vec<&'static str>) {
    let schema = target.schema();
    within.push(schema.name);
    let only = match schema.json_form {
        JsonForm::Object | JsonForm::Custom => None,
        // Of alternatives only one can be set; a boolean may stand beside its schema.
        JsonForm::SchemaOrArray => Some(usize::from(within.len().is_multiple_of(2))),
        JsonForm::SchemaOrStringArray => Some(1),
        JsonForm::SchemaOrBool => Some(0),
    };
    for (index, field) in schema.fields.iter().enumerate() {
        let is_type_meta = schema.kind.is_some() && index == 0;
        if is_type_meta || only.is_some_and(|only| only != index) {
            continue;
        }
        fill(target.get_mut(index), field.json, within);
    }
    within.pop();
}

fn fill(value: &mut dyn Value, name: &str, within: &mut Vec<&'static str>) {
    match value.view_mut() {
        ViewMut::String(v) => *v = format!("{name} <\"é\u{2028}\n\">"),
        ViewMut::Bool(v) => *v = true,
        ViewMut::Int32(v) => *v = -7,
        ViewMut::Int64(v) => *v = i64::MAX - name.len() as i64,
        ViewMut::Uint32(v) => *v = 3,
        ViewMut::Float64(v) => *v = 1.5e-7,
        ViewMut::Float32(v) => *v = 0.1,
        ViewMut::Bytes(v) => v.0 = vec![0, 255, name.len() as u8],
        ViewMut::Quantity(v) => *v = Quantity::parse("1500Mi").expect("valid"),
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
            *v = if name.len().is_multiple_of(2) {
                IntOrString::Int(-1)
            } else {
                IntOrString::String("25%".into())
            };
        }
        ViewMut::RawJson(v) => *v = br#"{"kind":"X","list":[1,null,"\u003c"]}"#.to_vec(),
        ViewMut::Struct(v) => {
            if !too_deep(v.schema().name, within) {
                fill_struct(v, within);
            }
        }
        ViewMut::Pointer(v) => {
            if let ViewMut::Struct(inner) = v.get_or_default().view_mut()
                && too_deep(inner.schema().name, within)
            {
                v.clear();
                return;
            }
            fill(v.get_or_default(), name, within);
            // An alternative that recursion left empty would be `null`, which is a nil pointer.
            if let ViewMut::Struct(inner) = v.get_or_default().view_mut()
                && inner.schema().json_form != JsonForm::Object
                && api_types::value::is_zero(inner)
            {
                v.clear();
            }
        }
        ViewMut::List(v) => {
            for _ in 0..2 {
                if let ViewMut::Struct(inner) = v.push_default().view_mut()
                    && too_deep(inner.schema().name, within)
                {
                    v.clear();
                    return;
                }
                let last = v.len() - 1;
                fill(v.item_mut(last), name, within);
            }
        }
        ViewMut::StringMap(v) => {
            v.insert("b".into(), name.into());
            v.insert("a".into(), String::new());
        }
        ViewMut::Map(v) => {
            for key in ["b/&", "a"] {
                if let ViewMut::Struct(inner) = v.insert_default(key.into()).view_mut()
                    && too_deep(inner.schema().name, within)
                {
                    v.clear();
                    return;
                }
                if let Some(slot) = v.value_mut(key) {
                    fill(slot, name, within);
                }
            }
        }
    }
}

fn too_deep(name: &str, within: &[&str]) -> bool {
    within.iter().filter(|open| **open == name).count() >= 2
}
