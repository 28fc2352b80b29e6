//! The condition `Dangling` says whether a flow schema's priority level exists. Upstream: apiserver/pkg/util/flowcontrol,
//! apf_controller.go.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use api_types::Time;
use api_types::flowcontrol::v1::{FlowSchema, FlowSchemaCondition, PriorityLevelConfiguration};
use apimachinery::quote::quote;
use apimachinery::status::{self, StatusError};
use serde_json::json;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::loopback::Loopback;
use crate::registry::follow::follow;
use crate::server::ApiServer;

const CONSUMER: &str = "api-priority-and-fairness-config-consumer-v1";
const DANGLING: &str = "Dangling";
const RETRY: Duration = Duration::from_secs(1);

/// Keeps the conditions right until `stop`.
pub(super) fn start(server: &Arc<ApiServer>, client: &Loopback, stop: CancellationToken) {
    let changed = Arc::new(Notify::new());
    let resource = |name: &str| {
        let resources = &server.resources;
        resources.get("flowcontrol.apiserver.k8s.io", "v1", name)
    };
    let (Some(schemas), Some(levels)) = (
        resource("flowschemas"),
        resource("prioritylevelconfigurations"),
    ) else {
        return;
    };
    let notify = changed.clone();
    follow::<FlowSchema>(schemas, stop.clone(), move |_| notify.notify_one());
    let notify = changed.clone();
    follow::<PriorityLevelConfiguration>(levels, stop.clone(), move |_| notify.notify_one());
    let client = client.managed_by(CONSUMER);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = changed.notified() => {}
            }
            if let Err(error) = sync(&client).await {
                tracing::warn!(error = %error, "Flow schemas do not get their conditions");
                tokio::time::sleep(RETRY).await;
                changed.notify_one();
            }
        }
    });
}

async fn sync(client: &Loopback) -> Result<(), StatusError> {
    let levels = client.list::<PriorityLevelConfiguration>("").await?;
    let levels: BTreeSet<String> = levels
        .into_iter()
        .map(|level| level.metadata.name)
        .collect();
    for schema in client.list::<FlowSchema>("").await? {
        let Some(condition) = missing_condition(&schema, &levels, Time::now()) else {
            continue;
        };
        let status = json!({"conditions": [{
            "type": condition.type_,
            "status": condition.status,
            "reason": condition.reason,
            "message": condition.message,
            "lastTransitionTime": condition.last_transition_time.to_string(),
        }]});
        match client
            .apply_status::<FlowSchema>(&schema.metadata.name, status)
            .await
        {
            // Deleted meanwhile: an apply cannot create through a subresource.
            Err(error) if !status::is_not_found(&error) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// The condition that a schema should have and has not.
fn missing_condition(
    schema: &FlowSchema,
    levels: &BTreeSet<String>,
    now: Time,
) -> Option<FlowSchemaCondition> {
    let level = &schema.spec.priority_level_configuration.name;
    let found = levels.contains(level);
    let fact = if found {
        "and it exists"
    } else {
        "but there is no such object"
    };
    let wanted = FlowSchemaCondition {
        type_: DANGLING.to_owned(),
        status: if found { "False" } else { "True" }.to_owned(),
        reason: if found { "Found" } else { "NotFound" }.to_owned(),
        message: format!(
            "This FlowSchema references the PriorityLevelConfiguration object named {} {fact}",
            quote(level)
        ),
        last_transition_time: now,
    };
    let has = schema.status.conditions.iter().any(|condition| {
        let wanted = FlowSchemaCondition {
            last_transition_time: condition.last_transition_time,
            ..wanted.clone()
        };
        *condition == wanted
    });
    (!has).then_some(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_dangles_without_its_level() {
        let mut schema = FlowSchema::default();
        schema.spec.priority_level_configuration.name = "a".to_owned();
        let now = Time::now();
        let none = BTreeSet::new();
        let dangling = missing_condition(&schema, &none, now).unwrap();
        assert_eq!(
            (dangling.status.as_str(), dangling.reason.as_str()),
            ("True", "NotFound")
        );
        assert_eq!(
            dangling.message,
            "This FlowSchema references the PriorityLevelConfiguration object named \"a\" but there is no such object"
        );
        schema.status.conditions = vec![dangling];
        assert_eq!(missing_condition(&schema, &none, Time::default()), None);
        let levels = BTreeSet::from(["a".to_owned()]);
        let found = missing_condition(&schema, &levels, now).unwrap();
        assert_eq!(
            (found.status.as_str(), found.reason.as_str()),
            ("False", "Found")
        );
    }
}
