//! What a manifest may say. Upstream: plugin/manifest/validation.go, plugin/{webhook,policy}/manifest/loader and
//! pkg/admission/plugin/{webhook,policy}/manifest/loader.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use api_types::admissionregistration::v1::{
    MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding, MutatingWebhookConfiguration,
    ParamKind, ParamRef, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
    ValidatingWebhookConfiguration, WebhookClientConfig,
};
use api_types::kinds;
use api_types::meta::v1::{List, Status};
use api_types::{Kind, List as _, Object as _, Resource};
use apimachinery::field::ErrorList;
use apimachinery::quote::quote;
use component_base::config::{ConfigError, Document};

use super::documents;
use crate::apis::defaults::set_defaults;
use crate::apis::validation::admission_registration::{self as checks, STATIC_SUFFIX as SUFFIX};

/// A kind that manifests have.
pub(in crate::admission) trait Manifest: Resource<List: Kind> {
    /// What is wrong with it as an object of the API.
    fn problems(&self) -> ErrorList;

    /// What is wrong with it as part of a manifest: it must not depend on anything that the API server stores.
    fn restricted(&self, file: &str) -> Result<(), String>;

    /// The policy of a binding.
    fn policy(&self) -> &str {
        ""
    }
}

impl Manifest for ValidatingWebhookConfiguration {
    fn problems(&self) -> ErrorList {
        checks::validate_validating_webhooks(self, None)
    }

    fn restricted(&self, file: &str) -> Result<(), String> {
        let hooks = self.webhooks.iter();
        let mut hooks = hooks.map(|hook| (&*hook.name, &hook.client_config));
        hooks.try_for_each(|(hook, client)| called_by_url(hook, client, self.name(), file))
    }
}

impl Manifest for MutatingWebhookConfiguration {
    fn problems(&self) -> ErrorList {
        checks::validate_mutating_webhooks(self, None)
    }

    fn restricted(&self, file: &str) -> Result<(), String> {
        let hooks = self.webhooks.iter();
        let mut hooks = hooks.map(|hook| (&*hook.name, &hook.client_config));
        hooks.try_for_each(|(hook, client)| called_by_url(hook, client, self.name(), file))
    }
}

impl Manifest for ValidatingAdmissionPolicy {
    fn problems(&self) -> ErrorList {
        checks::validate_validating_policy(self, None)
    }

    fn restricted(&self, _: &str) -> Result<(), String> {
        without_parameters::<Self>(self.name(), self.spec.param_kind.as_deref())
    }
}

impl Manifest for ValidatingAdmissionPolicyBinding {
    fn problems(&self) -> ErrorList {
        checks::validate_validating_binding(self)
    }

    fn restricted(&self, _: &str) -> Result<(), String> {
        let spec = &self.spec;
        of_a_manifest(self.name(), &spec.policy_name, spec.param_ref.as_deref())
    }

    fn policy(&self) -> &str {
        &self.spec.policy_name
    }
}

impl Manifest for MutatingAdmissionPolicy {
    fn problems(&self) -> ErrorList {
        checks::validate_mutating_policy(self, None)
    }

    fn restricted(&self, _: &str) -> Result<(), String> {
        without_parameters::<Self>(self.name(), self.spec.param_kind.as_deref())
    }
}

impl Manifest for MutatingAdmissionPolicyBinding {
    fn problems(&self) -> ErrorList {
        checks::validate_mutating_binding(self)
    }

    fn restricted(&self, _: &str) -> Result<(), String> {
        let spec = &self.spec;
        of_a_manifest(self.name(), &spec.policy_name, spec.param_ref.as_deref())
    }

    fn policy(&self) -> &str {
        &self.spec.policy_name
    }
}

fn called_by_url(
    hook: &str,
    client: &WebhookClientConfig,
    configuration: &str,
    file: &str,
) -> Result<(), String> {
    let why = if client.service.is_some() {
        "clientConfig.service is not supported for static manifests; use clientConfig.url instead"
    } else if client.url.as_deref().is_none_or(str::is_empty) {
        "clientConfig.url is required for static manifests"
    } else {
        return Ok(());
    };
    let (hook, configuration, file) = (quote(hook), quote(configuration), quote(file));
    Err(format!(
        "webhook {hook} in {configuration} (file {file}): {why}"
    ))
}

fn without_parameters<T: Kind>(name: &str, parameters: Option<&ParamKind>) -> Result<(), String> {
    match parameters {
        None => Ok(()),
        Some(_) => Err(format!(
            "{} {}: spec.paramKind is not supported for static manifests",
            T::KIND,
            quote(name)
        )),
    }
}

fn of_a_manifest(binding: &str, policy: &str, parameters: Option<&ParamRef>) -> Result<(), String> {
    let binding = quote(binding);
    if policy.is_empty() {
        return Err(format!(
            "binding {binding} must reference a policy (spec.policyName)"
        ));
    }
    if !policy.ends_with(SUFFIX) {
        return Err(format!(
            "binding {binding}: spec.policyName {} must end with {SUFFIX:?}",
            quote(policy)
        ));
    }
    if parameters.is_some() {
        return Err(format!(
            "binding {binding}: spec.paramRef is not supported for static manifests"
        ));
    }
    Ok(())
}

/// Why a document is not taken.
enum Refused {
    /// It cannot be decoded.
    Undecodable(String),
    /// It can, and is wrong.
    Wrong(String),
}

impl From<String> for Refused {
    fn from(why: String) -> Self {
        Refused::Wrong(why)
    }
}

impl From<ConfigError> for Refused {
    fn from(error: ConfigError) -> Self {
        Refused::Undecodable(error.to_string())
    }
}

/// The objects of one kind that were found so far.
struct Found<T> {
    objects: Vec<T>,
    /// In which file each name was.
    files: BTreeMap<String, String>,
}

impl<T> Default for Found<T> {
    fn default() -> Self {
        Self {
            objects: Vec::new(),
            files: BTreeMap::new(),
        }
    }
}

impl<T: Manifest> Found<T> {
    /// Takes what a document has, if it is of this kind or a list of it.
    fn take(&mut self, document: &Document, file: &str) -> Result<bool, Refused> {
        let objects = if document.is::<T>() {
            vec![document.decode::<T>()?]
        } else if document.is::<T::List>() {
            document.decode::<T::List>()?.into_items()
        } else {
            return Ok(false);
        };
        let mut valid = Vec::with_capacity(objects.len());
        for mut object in objects {
            set_defaults(&mut object);
            if let Some(problems) = object.problems().aggregate() {
                let name = quote(object.name());
                return Err(format!("{} {name}: {problems}", T::KIND).into());
            }
            valid.push(object);
        }
        for object in valid {
            self.name(object.name(), file)?;
            object.restricted(file)?;
            self.objects.push(object);
        }
        Ok(true)
    }

    fn name(&mut self, name: &str, file: &str) -> Result<(), String> {
        if name.is_empty() {
            return Err(format!("resource in file {} must have a name", quote(file)));
        }
        if !name.ends_with(SUFFIX) {
            return Err(format!(
                "{} in file {} must have a name ending with {SUFFIX:?}",
                quote(name),
                quote(file)
            ));
        }
        match self.files.insert(name.to_owned(), file.to_owned()) {
            None => Ok(()),
            Some(before) => Err(format!(
                "duplicate name {} found in file {} (previously seen in {})",
                quote(name),
                quote(file),
                quote(&before)
            )),
        }
    }

    /// In the order of their names.
    fn sorted(mut self) -> Vec<T> {
        self.objects.sort_by(|a, b| a.name().cmp(b.name()));
        self.objects
    }
}

/// Objects of one kind, and a hash of their files.
pub(in crate::admission) fn webhooks<T: Manifest>(
    folder: &Path,
) -> Result<(Vec<T>, String), String> {
    let mut found = Found::<T>::default();
    let hash = each_document(folder, &mut |document, file| found.take(document, file))?;
    Ok((found.sorted(), hash))
}

/// Policies, their bindings, and a hash of their files.
pub(in crate::admission) fn policies<P: Manifest, B: Manifest>(
    folder: &Path,
) -> Result<(Vec<P>, Vec<B>, String), String> {
    let (mut policies, mut bindings) = (Found::<P>::default(), Found::<B>::default());
    let hash = each_document(folder, &mut |document, file| {
        Ok(policies.take(document, file)? || bindings.take(document, file)?)
    })?;
    let names: BTreeSet<&str> = policies.objects.iter().map(|found| found.name()).collect();
    let dangling = bindings
        .objects
        .iter()
        .find(|binding| !names.contains(binding.policy()));
    if let Some(binding) = dangling {
        return Err(format!(
            "binding {} references policy {} which does not exist in the manifest directory",
            quote(binding.name()),
            quote(binding.policy())
        ));
    }
    Ok((policies.sorted(), bindings.sorted(), hash))
}

/// Takes a document, or says that it is of no kind that is wanted.
type Take<'a> = &'a mut dyn FnMut(&Document, &str) -> Result<bool, Refused>;

fn each_document(folder: &Path, take: Take<'_>) -> Result<String, String> {
    let (texts, hash) = documents::read(folder)?;
    for text in texts {
        let file = &text.file;
        let taken = parse(&text.text).and_then(|document| take_all(&document, file, take));
        taken.map_err(|(Refused::Undecodable(why) | Refused::Wrong(why))| {
            format!("error loading {file}: {why}")
        })?;
    }
    Ok(hash)
}

/// A document's objects; those of lists of anything are documents of their own.
fn take_all(document: &Document, file: &str, take: Take<'_>) -> Result<(), Refused> {
    if document.kind == List::KIND {
        let list: List = document.decode_fields()?;
        for item in list.items {
            let taken = parse(&item.raw).and_then(|item| take_all(&item, file, take));
            taken.map_err(|refused| match refused {
                Refused::Undecodable(why) => {
                    Refused::Wrong(format!("failed to decode list item: {why}"))
                }
                wrong => wrong,
            })?;
        }
        return Ok(());
    }
    if take(document, file)? {
        return Ok(());
    }
    let version = document.api_version.rsplit('/').next().unwrap_or_default();
    let kind = &document.kind;
    Err(format!("unsupported resource type *{version}.{kind}").into())
}

/// A document of a kind that is known: those of this group, and those that every group has.
fn parse(text: &[u8]) -> Result<Document, Refused> {
    const GROUP: &str = <ValidatingAdmissionPolicy as Kind>::GROUP;
    let document = Document::parse(text)?;
    let (api_version, kind) = (&*document.api_version, &*document.kind);
    let is_known = [List::KIND, Status::KIND].contains(&kind)
        || api_version.starts_with(GROUP) && kinds::lookup_api_version(api_version, kind).is_some();
    if is_known {
        Ok(document)
    } else {
        Err(document.unknown().into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const GROUP: &str = "admissionregistration.k8s.io/v1";

    fn policy(name: &str, more: Value) -> Value {
        let mut policy = json!({
            "apiVersion": GROUP, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name},
            "spec": {
                "matchConstraints": {"resourceRules": [{
                    "operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"],
                }]},
                "validations": [{"expression": "true"}],
            },
        });
        for (name, value) in more.as_object().unwrap() {
            policy["spec"][name] = value.clone();
        }
        policy
    }

    fn binding(name: &str, policy: &str, more: Value) -> Value {
        let mut binding = json!({
            "apiVersion": GROUP, "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": name},
            "spec": {"policyName": policy, "validationActions": ["Deny"]},
        });
        for (name, value) in more.as_object().unwrap() {
            binding["spec"][name] = value.clone();
        }
        binding
    }

    fn hooks(name: &str, client: Value) -> Value {
        json!({
            "apiVersion": GROUP, "kind": "ValidatingWebhookConfiguration", "metadata": {"name": name},
            "webhooks": [{
                "name": "w.example.com", "clientConfig": client, "admissionReviewVersions": ["v1"],
                "sideEffects": "None", "rules": [],
            }],
        })
    }

    /// A folder with a file for each text; `FOLDER` stands for it in errors.
    fn load<T>(texts: &[String], load: impl Fn(&Path) -> Result<T, String>) -> Result<T, String> {
        let folder = tempfile::tempdir().unwrap();
        for (index, text) in texts.iter().enumerate() {
            std::fs::write(folder.path().join(format!("{index}.yaml")), text).unwrap();
        }
        let shown = folder.path().display().to_string();
        load(folder.path()).map_err(|error| error.replace(&shown, "FOLDER"))
    }

    type Policies = (
        Vec<ValidatingAdmissionPolicy>,
        Vec<ValidatingAdmissionPolicyBinding>,
        String,
    );

    fn load_policies(texts: &[String]) -> Result<Policies, String> {
        load(texts, policies)
    }

    #[track_caller]
    fn refused(texts: &[String], why: &str) {
        let error = load_policies(texts).map(|_| ()).unwrap_err();
        assert_eq!(error, why);
    }

    #[track_caller]
    fn one_refused(document: &Value, why: &str) {
        let texts = [document.to_string()];
        refused(&texts, &format!("error loading FOLDER/0.yaml: {why}"));
    }

    #[test]
    fn documents_lists_and_lists_of_lists_are_loaded() {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": [
            binding("b.static.k8s.io", "a.static.k8s.io", json!({})),
            {"apiVersion": "v1", "kind": "List", "items": [policy("b.static.k8s.io", json!({}))]},
        ]});
        let typed = json!({
            "apiVersion": GROUP, "kind": "ValidatingAdmissionPolicyList",
            "items": [policy("c.static.k8s.io", json!({}))],
        });
        let last = policy("a.static.k8s.io", json!({}));
        let texts = [format!("{list}\n---\n{typed}"), last.to_string()];
        let (policies, bindings, hash) = load_policies(&texts).unwrap();
        let names: Vec<&str> = policies.iter().map(|policy| policy.name()).collect();
        assert_eq!(
            names,
            ["a.static.k8s.io", "b.static.k8s.io", "c.static.k8s.io"]
        );
        assert_eq!(bindings.len(), 1);
        assert!(hash.starts_with("sha256:"));
        // Defaults are filled in.
        assert_eq!(policies[0].spec.failure_policy.as_deref(), Some("Fail"));
        let (policies, _, hash) = load_policies(&[]).unwrap();
        assert_eq!((policies.len(), hash.as_str()), (0, ""));
    }

    #[test]
    fn only_kinds_of_the_plugin_are_loaded() {
        let pod = json!({"apiVersion": "v1", "kind": "Pod"});
        let why = "no kind \"Pod\" is registered for version \"v1\"";
        one_refused(&pod, why);
        let list = json!({"apiVersion": "v1", "kind": "List", "items": [pod]});
        one_refused(&list, &format!("failed to decode list item: {why}"));
        let other = hooks("a.static.k8s.io", json!({}));
        let why = "unsupported resource type *v1.ValidatingWebhookConfiguration";
        one_refused(&other, why);
        let mut older = policy("a.static.k8s.io", json!({}));
        older["apiVersion"] = json!("admissionregistration.k8s.io/v1beta1");
        let why = "unsupported resource type *v1beta1.ValidatingAdmissionPolicy";
        one_refused(&older, why);
        let unknown = policy("a.static.k8s.io", json!({"foo": 1}));
        let why = "strict decoding error: unknown field \"spec.foo\"";
        one_refused(&unknown, why);
        let list = json!({"apiVersion": "v1", "kind": "List", "items": [unknown]});
        one_refused(&list, &format!("failed to decode list item: {why}"));
        refused(
            &["metadata: {name: x}\n".to_owned()],
            "error loading FOLDER/0.yaml: Object 'Kind' is missing in 'metadata: {name: x}'",
        );
    }

    #[test]
    fn names_are_reserved_and_unique() {
        one_refused(
            &policy("a", json!({})),
            "\"a\" in file \"FOLDER/0.yaml\" must have a name ending with \".static.k8s.io\"",
        );
        one_refused(
            &policy("", json!({})),
            "ValidatingAdmissionPolicy \"\": metadata.name: Required value: name or generateName is required",
        );
        let same = policy("a.static.k8s.io", json!({})).to_string();
        refused(
            &[same.clone(), same],
            "error loading FOLDER/1.yaml: duplicate name \"a.static.k8s.io\" found in file \"FOLDER/1.yaml\" (previously seen in \"FOLDER/0.yaml\")",
        );
    }

    #[test]
    fn nothing_depends_on_what_is_stored() {
        let parameters = json!({"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}});
        one_refused(
            &policy("a.static.k8s.io", parameters),
            "ValidatingAdmissionPolicy \"a.static.k8s.io\": spec.paramKind is not supported for static manifests",
        );
        let (name, stored) = ("b.static.k8s.io", "a");
        one_refused(
            &binding(name, stored, json!({})),
            "binding \"b.static.k8s.io\": spec.policyName \"a\" must end with \".static.k8s.io\"",
        );
        let parameters = json!({"paramRef": {"name": "x", "parameterNotFoundAction": "Deny"}});
        one_refused(
            &binding(name, "a.static.k8s.io", parameters),
            "binding \"b.static.k8s.io\": spec.paramRef is not supported for static manifests",
        );
        refused(
            &[binding(name, "a.static.k8s.io", json!({})).to_string()],
            "binding \"b.static.k8s.io\" references policy \"a.static.k8s.io\" which does not exist in the manifest directory",
        );
        let invalid = json!({"failurePolicy": "X", "validations": []});
        one_refused(
            &policy("a.static.k8s.io", invalid),
            "ValidatingAdmissionPolicy \"a.static.k8s.io\": [spec.failurePolicy: Unsupported value: \"X\": supported values: \"Fail\", \"Ignore\", spec.validations: Required value: validations or auditAnnotations must contain at least one item, spec.auditAnnotations: Required value: validations or auditAnnotations must contain at least one item]",
        );
    }

    #[test]
    fn webhooks_have_an_address_of_their_own() {
        let load_hooks = |client: Value| {
            let texts = [hooks("w.static.k8s.io", client).to_string()];
            let loaded = load(&texts, webhooks::<ValidatingWebhookConfiguration>);
            loaded.map(|(found, _)| found.len())
        };
        assert_eq!(load_hooks(json!({"url": "https://127.0.0.1/"})), Ok(1));
        assert_eq!(
            load_hooks(json!({"service": {"name": "a", "namespace": "b"}})),
            Err("error loading FOLDER/0.yaml: webhook \"w.example.com\" in \"w.static.k8s.io\" (file \"FOLDER/0.yaml\"): clientConfig.service is not supported for static manifests; use clientConfig.url instead".to_owned())
        );
        assert_eq!(
            load_hooks(json!({})),
            Err("error loading FOLDER/0.yaml: ValidatingWebhookConfiguration \"w.static.k8s.io\": webhooks[0].clientConfig: Required value: exactly one of url or service is required".to_owned())
        );
    }
}
