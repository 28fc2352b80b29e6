//! Each target on a fixed number of inputs, the same ones every time. `FUZZ_CASES` is another number of inputs for each.

use std::path::Path;

use fuzz::run::Bound;
use fuzz::targets::TARGETS;

#[track_caller]
fn check(name: &str) {
    let target = TARGETS
        .iter()
        .find(|target| target.name == name)
        .unwrap_or_else(|| panic!("no target {name}"));
    let cases = std::env::var("FUZZ_CASES")
        .ok()
        .map_or(target.cases, |text| {
            text.parse().expect("FUZZ_CASES is a number")
        });
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    match fuzz::run(target, Bound::Cases(cases), folder) {
        Err(failure) => panic!("{failure}"),
        Ok(summary) => {
            eprintln!("{summary:?}");
            assert_eq!(summary.cases, cases);
            // A target that refuses everything, or takes everything, sees only the surface.
            let valid = f64::from(summary.accepted) / f64::from(cases);
            assert!(
                valid > 0.02,
                "only {} of {cases} inputs are valid",
                summary.accepted
            );
            assert!(
                valid < 0.99 || name == "scalars/int-or-string",
                "all inputs are valid"
            );
        }
    }
}

macro_rules! targets {
    ($($test:ident $name:literal),* $(,)?) => {
        $(#[test] fn $test() { check($name); })*

        #[test]
        fn every_target_has_a_test() {
            let tested = [$($name),*];
            let listed: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(tested.as_slice(), listed.as_slice());
        }
    };
}

targets! {
    json_decode "json/decode",
    json_compact "json/compact",
    protobuf_decode "protobuf/decode",
    protobuf_envelope "protobuf/envelope",
    scalars_quantity "scalars/quantity",
    scalars_time "scalars/time",
    scalars_duration "scalars/duration",
    scalars_int_or_string "scalars/int-or-string",
    selectors_labels "selectors/labels",
    selectors_label_selector "selectors/label-selector",
    selectors_fields "selectors/fields",
    patches_json "patches/json",
    patches_merge "patches/merge",
    patches_strategic "patches/strategic",
    managed_fields_set "managed-fields/set",
    managed_fields_apply "managed-fields/apply",
    managed_fields_update "managed-fields/update",
    cel_expression "cel/expression",
    cel_regex "cel/regex",
    config_kubeconfig "config/kubeconfig",
    config_component_config "config/component-config",
    config_flags "config/flags",
    config_certificate "config/certificate",
    config_pem "config/pem",
    names_names "names/names",
    names_addresses "names/addresses",
    names_groups "names/groups",
}

#[test]
fn readme_has_every_target() {
    let readme = include_str!("../README.md");
    for target in TARGETS {
        assert!(
            readme.contains(&format!("`{}`", target.name)),
            "{} is not in the README",
            target.name
        );
    }
}

#[test]
fn failures_are_made_small_and_kept() {
    const BROKEN: fuzz::Target = fuzz::Target {
        name: "broken/example",
        promise: "none",
        cases: 0,
        seed: |_| b"some text with a bug in it".to_vec(),
        tokens: &["bug"],
        check: |case| {
            assert!(!case.text().contains("bug"), "found");
            Ok(fuzz::Verdict::Refused)
        },
    };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("example");
    let failure = fuzz::run(&BROKEN, Bound::Cases(100), &folder).expect_err("it fails");
    assert_eq!(failure.case.bytes, b"bug");
    assert!(failure.broken.contains("found"), "{failure}");
    let kept = fuzz::Case::from_file(&std::fs::read(&failure.file).expect("kept")).expect("a case");
    assert_eq!(kept, failure.case);
    fuzz::run::replay(&BROKEN, kept, &folder).expect_err("it fails again");
    std::fs::remove_dir_all(folder).expect("removed");
}
