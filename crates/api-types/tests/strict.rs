//! What decoding reports: unknown and duplicate fields with their paths, and upstream's error texts.

use api_types::apps::v1::Deployment;
use api_types::core::v1::{ConfigMap, Pod, Secret};
use api_types::{DecodeError, Described, apiextensions, decode_json, decode_json_reporting};

#[track_caller]
fn problems<T: Described>(json: &str, want: &[&str]) {
    let (_, problems) = decode_json_reporting::<T>(json.as_bytes()).expect("valid JSON");
    let got: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(got, want);
}

#[test]
fn unknown_fields_are_named_with_their_path() {
    problems::<Pod>(r#"{"foo":1}"#, &[r#"unknown field "foo""#]);
    problems::<Pod>(
        r#"{"spec":{"bar":{"x":[1]},"containers":[{"name":"a"},{"nme":"b","livenessProbe":{"httpGt":{}}}]}}"#,
        &[
            r#"unknown field "spec.bar""#,
            r#"unknown field "spec.containers[1].nme""#,
            r#"unknown field "spec.containers[1].livenessProbe.httpGt""#,
        ],
    );
    // Keys are case sensitive; fields of inlined structs belong to the parent; maps take any key.
    problems::<Pod>(
        r#"{"Spec":{},"spec":{"volumes":[{"name":"v","emptyDir":{},"VolumeSource":{}}]},"metadata":{"labels":{"x":"y"}}}"#,
        &[
            r#"unknown field "Spec""#,
            r#"unknown field "spec.volumes[0].VolumeSource""#,
        ],
    );
}

#[test]
fn duplicate_fields_are_named_and_the_last_one_counts() {
    problems::<Pod>(r#"{"spec":{},"spec":{}}"#, &[r#"duplicate field "spec""#]);
    problems::<Pod>(
        r#"{"metadata":{"labels":{"a":"1","a":"2","a":"3"},"name":"x","name":"y"}}"#,
        &[
            r#"duplicate field "metadata.labels.a""#,
            r#"duplicate field "metadata.name""#,
        ],
    );
    let pod: Pod = decode_json(br#"{"metadata":{"name":"x","name":"y"}}"#).expect("valid");
    assert_eq!(pod.metadata.name, "y");
    // Objects, maps and list items are read into what is there.
    let pod: Pod = decode_json(
        br#"{"metadata":{"labels":{"a":"1"}},"spec":{"containers":[{"name":"a"},{"name":"b"}]},
            "metadata":{"labels":{"b":"2"}},"spec":{"containers":[{"image":"i"}]}}"#,
    )
    .expect("valid");
    assert_eq!(pod.metadata.labels.len(), 2);
    assert_eq!(pod.spec.containers.len(), 1);
    assert_eq!(
        (
            pod.spec.containers[0].name.as_str(),
            pod.spec.containers[0].image.as_str()
        ),
        ("a", "i")
    );
}

#[test]
fn findings_stop_at_a_hundred() {
    let fields: Vec<String> = (0..300).map(|n| format!("\"x{n}\":1")).collect();
    let json = format!("{{{}}}", fields.join(","));
    let (_, problems) = decode_json_reporting::<Pod>(json.as_bytes()).expect("valid JSON");
    assert_eq!(problems.len(), 100);
}

#[track_caller]
fn fails<T: Described>(json: &str, want: &str) {
    match decode_json::<T>(json.as_bytes()) {
        Err(err) => assert_eq!(err.to_string(), want),
        Ok(_) => panic!("{json} was accepted"),
    }
}

#[test]
fn type_errors_have_gos_text() {
    fails::<Deployment>(
        r#"{"spec":{"replicas":"3"}}"#,
        "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
    );
    fails::<Deployment>(
        r#"{"spec":{"replicas":1.5}}"#,
        "json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
    );
    fails::<Deployment>(
        r#"{"spec":{"replicas":3000000000}}"#,
        "json: cannot unmarshal number 3000000000 into Go struct field DeploymentSpec.spec.replicas of type int32",
    );
    fails::<Pod>(
        r#"{"spec":{"containers":{}}}"#,
        "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container",
    );
    fails::<Pod>(
        r#"{"spec":{"containers":[{"name":1}]}}"#,
        "json: cannot unmarshal number into Go struct field Container.spec.containers.name of type string",
    );
    fails::<Pod>(
        r#"{"spec":{"restartPolicy":true}}"#,
        "json: cannot unmarshal bool into Go struct field PodSpec.spec.restartPolicy of type v1.RestartPolicy",
    );
    fails::<Pod>(
        r#"{"metadata":{"labels":{"a":1}}}"#,
        "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
    );
    fails::<Pod>(
        "[]",
        "json: cannot unmarshal array into Go value of type v1.Pod",
    );
    // The first error counts; the rest of the text is still read.
    fails::<Pod>(
        r#"{"metadata":{"name":1,"namespace":2},"spec":[]}"#,
        "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.name of type string",
    );
    // Fields of inlined structs are reached through the Go name of the embedded type.
    fails::<Pod>(
        r#"{"spec":{"volumes":[{"emptyDir":1}]}}"#,
        "json: cannot unmarshal number into Go struct field Volume.spec.volumes.VolumeSource.emptyDir of type v1.EmptyDirVolumeSource",
    );
}

#[test]
fn types_that_read_themselves_have_their_own_errors() {
    fails::<Pod>(
        r#"{"metadata":{"creationTimestamp":"yesterday"}}"#,
        r#"parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006""#,
    );
    fails::<Pod>(
        r#"{"spec":{"containers":[{"resources":{"limits":{"cpu":"1x"}}}]}}"#,
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
    );
    fails::<Secret>(
        r#"{"data":{"a":"!!!"}}"#,
        "illegal base64 data at input byte 0",
    );
    fails::<Pod>(
        r#"{"spec":{"containers":[{"livenessProbe":{"httpGet":{"port":1.5}}}]}}"#,
        "json: cannot unmarshal number 1.5 into Go struct field HTTPGetAction.spec.containers.livenessProbe.ProbeHandler.httpGet.port of type int32",
    );
    // A number is a quantity too.
    let pod: Pod = decode_json(br#"{"spec":{"containers":[{"resources":{"limits":{"cpu":2}}}]}}"#)
        .expect("valid");
    assert_eq!(
        pod.spec.containers[0].resources.limits["cpu"].to_string(),
        "2"
    );
}

#[test]
fn bytes_are_base64_or_a_list_of_numbers() {
    for (json, want) in [
        (r#""aGk=""#, &b"hi"[..]),
        ("[104, 105]", b"hi"),
        ("[null,7]", &[0, 7]),
        ("[]", b""),
        ("null", b""),
    ] {
        let json = format!(r#"{{"data":{{"a":{json}}}}}"#);
        let secret: Secret = decode_json(json.as_bytes()).expect("valid");
        assert_eq!(secret.data["a"].0, want, "{json}");
    }
    for (json, what, kind) in [
        ("[104,300]", "number 300", "uint8"),
        ("[-1]", "number -1", "uint8"),
        ("[1.5]", "number 1.5", "uint8"),
        (r#"[104,"x"]"#, "string", "uint8"),
        ("[[1]]", "array", "uint8"),
        ("{}", "object", "[]uint8"),
        ("5", "number", "[]uint8"),
    ] {
        fails::<Secret>(
            &format!(r#"{{"data":{{"a":{json}}}}}"#),
            &format!(
                "json: cannot unmarshal {what} into Go struct field Secret.data of type {kind}"
            ),
        );
    }
    fails::<Secret>(
        r#"{"data":{"a":[1 2]}}"#,
        "invalid character '2' after array element",
    );
}

#[test]
fn syntax_errors_have_gos_text() {
    for (json, want) in [
        ("", "unexpected end of JSON input"),
        ("{", "unexpected end of JSON input"),
        (r#"{"metadata":{"name":"x}"#, "unexpected end of JSON input"),
        (
            "{a:1}",
            "invalid character 'a' looking for beginning of object key string",
        ),
        (r#"{"spec" 1}"#, "invalid character '1' after object key"),
        (
            r#"{"spec":{} 1}"#,
            "invalid character '1' after object key:value pair",
        ),
        (
            r#"{"x":[1 2]}"#,
            "invalid character '2' after array element",
        ),
        (r#"{} x"#, "invalid character 'x' after top-level value"),
        (
            r#"{"x":tru}"#,
            "invalid character '}' in literal true (expecting 'e')",
        ),
        (
            r#"{"x":01}"#,
            "invalid character '1' after object key:value pair",
        ),
        (
            r#"{"x":1.}"#,
            "invalid character '}' after decimal point in numeric literal",
        ),
        (
            r#"{"x":"\q"}"#,
            "invalid character 'q' in string escape code",
        ),
        (
            "{\"x\":\"\n\"}",
            "invalid character '\\n' in string literal",
        ),
        // Broken syntax wins over anything found before it.
        (
            r#"{"metadata":{"name":1,"creationTimestamp":"x"},}"#,
            "invalid character '}' looking for beginning of object key string",
        ),
    ] {
        match decode_json::<Pod>(json.as_bytes()) {
            Err(DecodeError::Syntax { message, .. }) => assert_eq!(message, want, "{json}"),
            other => panic!("{json}: {other:?}"),
        }
    }
}

#[test]
fn deep_nesting_is_refused_and_not_a_crash() {
    let deep = format!(r#"{{"x":{}1{}}}"#, "[".repeat(20_000), "]".repeat(20_000));
    fails::<Pod>(&deep, "exceeded max depth");
    let schema = format!(
        r#"{{"spec":{{"versions":[{{"schema":{{"openAPIV3Schema":{}{{}}{}}}}}]}}}}"#,
        r#"{"not":"#.repeat(5_000),
        "}".repeat(5_000)
    );
    fails::<apiextensions::v1::CustomResourceDefinition>(&schema, "exceeded max depth");
    let schema = schema.replace(r#"{"not":"#, r#"{"items":"#);
    fails::<apiextensions::v1::CustomResourceDefinition>(&schema, "exceeded max depth");
}

#[test]
fn null_leaves_zero_values() {
    let pod: Pod = decode_json(
        br#"{"metadata":{"name":null,"labels":null,"creationTimestamp":null},"spec":{"containers":null,"securityContext":null,"terminationGracePeriodSeconds":null}}"#,
    )
    .expect("valid");
    assert_eq!(pod, Pod::default());
}

#[test]
fn text_is_unescaped_and_escaped_as_in_go() {
    let json = r#"{"data":{"a":"\u003c\ud83d\ude00\ud800x\/\b","b":"é\u2028"}}"#;
    let map: ConfigMap = decode_json(json.as_bytes()).expect("valid");
    assert_eq!(map.data["a"], "<\u{1f600}\u{fffd}x/\u{8}");
    let text = String::from_utf8(api_types::encode_json(&map)).expect("JSON is UTF-8");
    assert_eq!(
        text,
        "{\"kind\":\"ConfigMap\",\"apiVersion\":\"v1\",\"metadata\":{},\"data\":{\"a\":\"\\u003c\u{1f600}\u{fffd}x/\\b\",\"b\":\"é\\u2028\"}}"
    );
}

#[test]
fn empty_lists_of_objects_are_written() {
    let list = api_types::core::v1::PodList::default();
    let text = String::from_utf8(api_types::encode_json(&list)).expect("JSON is UTF-8");
    assert_eq!(
        text,
        r#"{"kind":"PodList","apiVersion":"v1","metadata":{},"items":[]}"#
    );
    let role = api_types::rbac::v1::Role::default();
    let text = String::from_utf8(api_types::encode_json(&role)).expect("JSON is UTF-8");
    assert_eq!(
        text,
        r#"{"kind":"Role","apiVersion":"rbac.authorization.k8s.io/v1","metadata":{},"rules":null}"#
    );
}
