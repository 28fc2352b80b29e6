//! The admission webhook of Websites. `/mutate` notes who asked in an annotation; `/validate` denies texts with a word that the ConfigMap `forbidden` of the
//! webhook's own namespace has among its keys.

use std::collections::BTreeMap;

use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DynamicObject};
use kube::core::admission::{AdmissionRequest, AdmissionResponse, AdmissionReview};
use kube::{Client, ResourceExt as _};
use rustls_pki_types::CertificateDer;
use serde_json::json;

use crate::Error;
use crate::serving::{self, Answer, Options};

const FORBIDDEN: &str = "forbidden";
const ANNOTATION: &str = "e2e.example.com/asked-for-by";

pub(crate) async fn run(options: &Options) -> Result<(), Error> {
    let words = Api::default_namespaced(Client::try_default().await?);
    serving::serve(options, None, Webhook { words }).await
}

struct Webhook {
    words: Api<ConfigMap>,
}

impl serving::Handler for Webhook {
    async fn answer(
        &self,
        request: Request<Incoming>,
        _: Option<CertificateDer<'static>>,
    ) -> Answer {
        match self.review(request).await {
            Ok(review) => serving::json(StatusCode::OK, &review),
            Err(error) => serving::json(StatusCode::BAD_REQUEST, &error.to_string()),
        }
    }
}

impl Webhook {
    async fn review(
        &self,
        request: Request<Incoming>,
    ) -> Result<AdmissionReview<DynamicObject>, Error> {
        let path = request.uri().path().to_owned();
        let body = request.into_body().collect().await?.to_bytes();
        let review: AdmissionReview<DynamicObject> = serde_json::from_slice(&body)?;
        let request: AdmissionRequest<_> = review.try_into()?;
        let response = AdmissionResponse::from(&request);
        let Some(object) = &request.object else {
            return Ok(response.into_review());
        };
        let response = match path.as_str() {
            "/mutate" => note_user(response, &request, object)?,
            "/validate" => self.refuse_words(response, object).await?,
            _ => response,
        };
        Ok(response.into_review())
    }

    async fn refuse_words(
        &self,
        response: AdmissionResponse,
        object: &DynamicObject,
    ) -> Result<AdmissionResponse, Error> {
        let words = self.words.get(FORBIDDEN).await?;
        let text = object.data["spec"]["text"].as_str().unwrap_or_default();
        let mut words = words.data.iter().flat_map(BTreeMap::keys);
        Ok(match words.find(|word| text.contains(word.as_str())) {
            Some(word) => response.deny(format!("the word {word:?} is forbidden")),
            None => response,
        })
    }
}

/// Says in an annotation who creates the object.
fn note_user(
    response: AdmissionResponse,
    request: &AdmissionRequest<DynamicObject>,
    object: &DynamicObject,
) -> Result<AdmissionResponse, Error> {
    if object.annotations().contains_key(ANNOTATION) {
        return Ok(response);
    }
    let mut operations = Vec::new();
    if object.annotations().is_empty() {
        operations.push(json!({"op": "add", "path": "/metadata/annotations", "value": {}}));
    }
    let path = format!("/metadata/annotations/{}", ANNOTATION.replace('/', "~1"));
    operations.push(json!({"op": "add", "path": path, "value": request.user_info.username}));
    let patch = serde_json::from_value(operations.into())?;
    Ok(response.with_patch(patch)?)
}
