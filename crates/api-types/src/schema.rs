//! Static tables describing every API type: what the JSON and protobuf codecs, the transcoder, strategic merge patch,
//! server-side apply, OpenAPI and defaulting know about a struct. The generator fills them from the `schema` folder;
//! upstream keeps the same facts in Go struct tags and `+` markers.
//!
//! Invariants: `StructSchema::fields` is in Go's declaration order (the order of JSON keys), and the index of a field
//! is the index that [`crate::Struct::get`] takes. `StructSchema::wire` lists the fields with a protobuf tag in
//! ascending tag order.

/// When a field is left out of the JSON form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Omit {
    /// Always written; `null` for a nil pointer, slice or map.
    Never,
    /// Go's `omitempty`: left out for zero scalars, empty text, nil pointers, empty lists and maps, never for structs.
    Empty,
    /// Go's `omitzero`: left out when the whole value is zero.
    Zero,
}

/// The type of a field, as the codecs see it.
#[derive(Clone, Copy, Debug)]
pub enum TypeRef {
    /// Text, including all of Go's named string types.
    String,
    /// Boolean.
    Bool,
    /// 32-bit signed integer.
    Int32,
    /// 64-bit signed integer.
    Int64,
    /// 32-bit unsigned integer.
    Uint32,
    /// Double.
    Float64,
    /// Single precision float (component configs only).
    Float32,
    /// Go's `[]byte`: base64 text in JSON.
    Bytes,
    /// `resource.Quantity`.
    Quantity,
    /// `metav1.Time`.
    Time,
    /// `metav1.MicroTime`.
    MicroTime,
    /// `metav1.Duration`.
    Duration,
    /// `intstr.IntOrString`.
    IntOrString,
    /// `runtime.RawExtension`, and `runtime.Unknown` inside config kinds: any JSON, or an encoded object.
    RawExtension,
    /// `metav1.FieldsV1`: a JSON object kept as text.
    FieldsV1,
    /// `apiextensions.JSON` and Go's `interface{}`: any JSON value.
    Json,
    /// A duration written as nanoseconds or as text (logging configuration).
    TimeOrMetaDuration,
    /// A struct by value.
    Struct(&'static StructSchema),
    /// A slice.
    List(&'static TypeRef),
    /// A named slice that protobuf wraps into a message of its own, `{1: items}`.
    WrappedList(&'static TypeRef),
    /// A map with text keys.
    Map(&'static TypeRef),
    /// A pointer.
    Pointer(&'static TypeRef),
}

impl TypeRef {
    /// The struct at the bottom of pointers, lists and maps, if there is one.
    pub fn struct_schema(&self) -> Option<&'static StructSchema> {
        match self {
            TypeRef::Struct(schema) => Some(schema),
            TypeRef::List(inner)
            | TypeRef::WrappedList(inner)
            | TypeRef::Map(inner)
            | TypeRef::Pointer(inner) => inner.struct_schema(),
            _ => None,
        }
    }

    /// The type behind a pointer, or the type itself.
    #[expect(
        clippy::should_implement_trait,
        reason = "Deref would hide that a pointer is looked through"
    )]
    pub fn deref(&self) -> &TypeRef {
        match self {
            TypeRef::Pointer(inner) => inner,
            other => other,
        }
    }

    /// The element type of a list.
    pub fn list_item(&self) -> Option<&'static TypeRef> {
        match self {
            TypeRef::List(inner) | TypeRef::WrappedList(inner) => Some(inner),
            TypeRef::Pointer(inner) => inner.list_item(),
            _ => None,
        }
    }

    /// The value type of a map.
    pub fn map_value(&self) -> Option<&'static TypeRef> {
        match self {
            TypeRef::Map(inner) => Some(inner),
            TypeRef::Pointer(inner) => inner.map_value(),
            _ => None,
        }
    }
}

/// The form of a struct in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonForm {
    /// An object with the struct's fields.
    Object,
    /// `JSONSchemaPropsOrArray`: a schema, or a list of schemas.
    SchemaOrArray,
    /// `JSONSchemaPropsOrBool`: a schema, or a boolean.
    SchemaOrBool,
    /// `JSONSchemaPropsOrStringArray`: a schema, or a list of strings.
    SchemaOrStringArray,
    /// [`crate::CustomObject`]: an object that has other fields too, all of them in byte order.
    Custom,
}

/// Group, version and kind of a type that is written with `apiVersion` and `kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KindName {
    /// API group, empty for core.
    pub group: &'static str,
    /// Version within the group.
    pub version: &'static str,
    /// `group/version`, or the version alone for the core group.
    pub api_version: &'static str,
    /// Kind.
    pub kind: &'static str,
}

/// One struct of the API.
#[derive(Debug)]
pub struct StructSchema {
    /// Go's type name.
    pub name: &'static str,
    /// Go's import path of the package that declares it.
    pub package: &'static str,
    /// Set for types that embed `TypeMeta` (always their first field).
    pub kind: Option<KindName>,
    /// Form in JSON.
    pub json_form: JsonForm,
    /// Fields in declaration order.
    pub fields: &'static [FieldSchema],
    /// Indices into `fields` of those with a protobuf tag, in ascending tag order.
    pub wire: &'static [u8],
    /// The tags of `wire`, in the same order.
    pub tags: &'static [u16],
    /// Bit `i` is set for a field of which JSON may have something though protobuf has no record of it. Fields beyond the
    /// 128th have no bit.
    pub written_when_absent: u128,
    /// First minor release that had the type (`1.9`), or empty.
    pub introduced: &'static str,
    /// Release that deprecated it, or empty.
    pub deprecated: &'static str,
}

/// One field of a struct.
#[derive(Debug)]
pub struct FieldSchema {
    /// Go's field name.
    pub go: &'static str,
    /// Key in JSON; empty for inlined structs and for fields that JSON does not carry.
    pub json: &'static str,
    /// Go's type as errors print it, such as `[]v1.Container`.
    pub go_type: &'static str,
    /// The struct's fields appear in the parent's JSON object.
    pub inline: bool,
    /// When the field is left out of JSON.
    pub omit: Omit,
    /// Protobuf tag, 0 when protobuf does not carry the field.
    pub tag: u32,
    /// Type.
    pub ty: TypeRef,
    /// Must be set by clients (OpenAPI's `required`).
    pub required: bool,
    /// `patchStrategy` tag: `merge`, `replace`, `retainKeys` or a comma separated list; empty when not tagged.
    pub patch_strategy: &'static str,
    /// `patchMergeKey` tag, or empty.
    pub patch_merge_key: &'static str,
    /// `listType` marker: `atomic`, `set`, `map`, or empty.
    pub list_type: &'static str,
    /// `listMapKey` markers.
    pub list_map_keys: &'static [&'static str],
    /// `mapType` marker: `atomic`, `granular`, or empty.
    pub map_type: &'static str,
    /// `structType` marker: `atomic`, `granular`, or empty.
    pub struct_type: &'static str,
    /// `default` marker: a JSON value or `ref(...)`, or empty.
    pub default: &'static str,
    /// Values of an enum-like string type.
    pub enum_values: &'static [&'static str],
    /// Feature gates that guard the field.
    pub feature_gates: &'static [&'static str],
}

impl FieldSchema {
    /// A field with nothing but its zero attributes; generated tables start from it.
    pub const NONE: FieldSchema = FieldSchema {
        go: "",
        json: "",
        go_type: "",
        inline: false,
        omit: Omit::Never,
        tag: 0,
        ty: TypeRef::String,
        required: false,
        patch_strategy: "",
        patch_merge_key: "",
        list_type: "",
        list_map_keys: &[],
        map_type: "",
        struct_type: "",
        default: "",
        enum_values: &[],
        feature_gates: &[],
    };
}

/// Where a JSON key lands in a struct: the field indices to follow through inlined structs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldPath {
    len: u8,
    steps: [u8; 4],
}

impl FieldPath {
    /// The indices from the outermost struct to the field.
    pub fn steps(&self) -> &[u8] {
        &self.steps[..usize::from(self.len)]
    }
}

impl StructSchema {
    /// Finds the field behind a JSON key, looking into inlined structs. Keys are case sensitive.
    pub fn find_json(&self, key: &str) -> Option<(FieldPath, &'static FieldSchema)> {
        self.find_json_at(key, 0, [0; 4])
    }

    /// As [`Self::find_json`], looking first at the fields from `hint` on: keys mostly come in the order of the fields.
    pub(crate) fn find_json_near(
        &self,
        key: &str,
        hint: &mut usize,
    ) -> Option<(FieldPath, &'static FieldSchema)> {
        let rest = self.fields.get(*hint..).unwrap_or_default();
        if let Some(ahead) = rest.iter().position(|field| field.json == key)
            && !key.is_empty()
        {
            let index = *hint + ahead;
            *hint = index + 1;
            let steps = [index as u8, 0, 0, 0];
            return Some((FieldPath { len: 1, steps }, &self.fields[index]));
        }
        self.find_json(key)
    }

    fn find_json_at(
        &self,
        key: &str,
        depth: usize,
        mut steps: [u8; 4],
    ) -> Option<(FieldPath, &'static FieldSchema)> {
        for (index, field) in self.fields.iter().enumerate() {
            if field.json == key && !field.json.is_empty() {
                steps[depth] = index as u8;
                return Some((
                    FieldPath {
                        len: depth as u8 + 1,
                        steps,
                    },
                    field,
                ));
            }
        }
        for (index, field) in self.fields.iter().enumerate() {
            if field.inline
                && depth < 3
                && let TypeRef::Struct(inner) = field.ty
            {
                steps[depth] = index as u8;
                if let Some(found) = inner.find_json_at(key, depth + 1, steps) {
                    return Some(found);
                }
            }
        }
        None
    }

    /// The field of this struct (not of inlined ones) with Go's name.
    pub fn field(&self, go: &str) -> Option<(usize, &'static FieldSchema)> {
        self.fields
            .iter()
            .enumerate()
            .find(|(_, field)| field.go == go)
    }

    /// All fields as JSON shows them: inlined structs are flattened, fields without a key are left out.
    pub fn json_fields(&self) -> Vec<&'static FieldSchema> {
        let mut out = Vec::with_capacity(self.fields.len());
        self.collect_json_fields(&mut out);
        out
    }

    fn collect_json_fields(&self, out: &mut Vec<&'static FieldSchema>) {
        for field in self.fields {
            match (field.inline, &field.ty) {
                (true, TypeRef::Struct(inner)) => inner.collect_json_fields(out),
                _ if !field.json.is_empty() => out.push(field),
                _ => {}
            }
        }
    }

    /// Whether the type embeds `TypeMeta` and so carries `apiVersion` and `kind` itself.
    pub fn has_type_meta(&self) -> bool {
        self.kind.is_some()
    }
}
