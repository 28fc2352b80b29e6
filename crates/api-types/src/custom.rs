//! An object of a kind that is known at run time only. Upstream: `unstructured.Unstructured`.
//!
//! Its metadata is typed, everything else is JSON text by top-level key. In JSON all keys are in byte order, those of
//! the metadata too, as Go writes maps; there is no protobuf form.

use std::collections::BTreeMap;

use crate::meta::v1::{ObjectMeta, TypeMeta};
use crate::schema::{FieldSchema, JsonForm, KindName, Omit, StructSchema, TypeRef};
use crate::special::JSON;
use crate::value::{Described, Struct, Value, View, ViewMut};

/// An object of a custom resource.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CustomObject {
    /// `apiVersion` and `kind`.
    pub type_meta: TypeMeta,
    /// Object metadata.
    pub metadata: ObjectMeta,
    /// Every other top-level field: compact JSON by key.
    pub content: BTreeMap<String, JSON>,
}

static SCHEMA: StructSchema = StructSchema {
    name: "Unstructured",
    package: "k8s.io/apimachinery/pkg/apis/meta/v1/unstructured",
    kind: Some(KindName {
        group: "",
        version: "",
        api_version: "",
        kind: "",
    }),
    json_form: JsonForm::Custom,
    fields: &[
        FieldSchema {
            go: "TypeMeta",
            go_type: "v1.TypeMeta",
            inline: true,
            omit: Omit::Empty,
            ty: TypeRef::Struct(&crate::meta::v1::schema::TypeMeta),
            ..FieldSchema::NONE
        },
        FieldSchema {
            go: "ObjectMeta",
            json: "metadata",
            go_type: "v1.ObjectMeta",
            omit: Omit::Empty,
            ty: TypeRef::Struct(&crate::meta::v1::schema::ObjectMeta),
            ..FieldSchema::NONE
        },
        FieldSchema {
            go: "Object",
            go_type: "map[string]interface {}",
            omit: Omit::Empty,
            ty: TypeRef::Map(&TypeRef::Json),
            ..FieldSchema::NONE
        },
    ],
    wire: &[],
    tags: &[],
    written_when_absent: 0,
    introduced: "",
    deprecated: "",
};

impl Value for CustomObject {
    fn view(&self) -> View<'_> {
        View::Struct(self)
    }
    fn view_mut(&mut self) -> ViewMut<'_> {
        ViewMut::Struct(self)
    }
}

impl Struct for CustomObject {
    fn schema(&self) -> &'static StructSchema {
        &SCHEMA
    }
    fn get(&self, index: usize) -> &dyn Value {
        match index {
            0 => &self.type_meta,
            1 => &self.metadata,
            2 => &self.content,
            _ => panic!("a custom object has no field {index}"),
        }
    }
    fn get_mut(&mut self, index: usize) -> &mut dyn Value {
        match index {
            0 => &mut self.type_meta,
            1 => &mut self.metadata,
            2 => &mut self.content,
            _ => panic!("a custom object has no field {index}"),
        }
    }
}

impl Described for CustomObject {
    const SCHEMA: &'static StructSchema = &SCHEMA;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{
        FieldProblemKind, Header, decode_json, decode_json_reporting, encode_json_as,
    };

    const HEADER: Header<'static> = Header {
        api_version: "example.com/v1",
        kind: "Thing",
    };

    #[test]
    fn keys_are_in_order_wherever_they_belong() {
        let text = br#"{"zone": [1, 2], "kind":"Thing", "metadata":{"name":"a","uid":"u","labels":{"b":"1"},"ownerReferences":[{"kind":"Pod","name":"p","apiVersion":"v1","uid":"x"}],"annotations":{"z":"2"}},"apiVersion":"example.com/v1","data":{"b":1,"a":"<"}}"#;
        let object: CustomObject = decode_json(text).unwrap();
        assert_eq!(object.metadata.name, "a");
        assert_eq!(object.type_meta.kind, "Thing");
        assert_eq!(object.content["zone"].raw, b"[1,2]");
        assert_eq!(
            String::from_utf8(encode_json_as(&object, HEADER)).unwrap(),
            r#"{"apiVersion":"example.com/v1","data":{"b":1,"a":"\u003c"},"kind":"Thing","metadata":{"annotations":{"z":"2"},"labels":{"b":"1"},"name":"a","ownerReferences":[{"apiVersion":"v1","kind":"Pod","name":"p","uid":"x"}],"uid":"u"},"zone":[1,2]}"#
        );
    }

    #[test]
    fn repeated_keys_are_found_at_any_depth() {
        let text = br#"{"spec":{"a":1,"b":[{"c":1,"c":2}],"a":2},"spec":{},"metadata":{"name":"a","nonsense":1}}"#;
        let (object, problems): (CustomObject, _) = decode_json_reporting(text).unwrap();
        assert_eq!(object.content["spec"].raw, b"{}");
        let problems: Vec<_> = problems
            .iter()
            .map(|problem| (problem.kind, problem.path.as_str()))
            .collect();
        assert_eq!(
            problems,
            [
                (FieldProblemKind::Duplicate, "spec.b[0].c"),
                (FieldProblemKind::Duplicate, "spec.a"),
                (FieldProblemKind::Duplicate, "spec"),
                (FieldProblemKind::Unknown, "metadata.nonsense"),
            ]
        );
    }
}
