//! Rows of kinds that have no v1 yet.

use api_types::certificates::v1beta1::{ClusterTrustBundle, PodCertificateRequest};
use api_types::coordination::v1beta1::LeaseCandidate;
use api_types::internal_apiserver::v1alpha1::StorageVersion;
use api_types::resource::v1alpha3::{PoolStatus, ResourcePoolStatusRequest};
use api_types::resource::v1beta2::DeviceTaintRule;
use api_types::scheduling::v1alpha2::{PodGroup, Workload};
use api_types::storagemigration::v1beta1::StorageVersionMigration;

use super::{Cells, Column, NONE, TableRow, UNSET, columns, format_labels, or_none, since};

impl TableRow for ClusterTrustBundle {
    const COLUMNS: &'static [Column] = columns::CLUSTER_TRUST_BUNDLE_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        cells
            .text(self.metadata.name.clone())
            .text(or_none(&self.spec.signer_name));
    }
}

impl TableRow for PodCertificateRequest {
    const COLUMNS: &'static [Column] = columns::POD_CERTIFICATE_REQUEST_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        let kinds = self.status.conditions.iter().map(|it| it.type_.as_str());
        let state = kinds
            .filter(|kind| matches!(*kind, "Issued" | "Denied" | "Failed"))
            .last();
        cells
            .text(self.metadata.name.clone())
            .text(self.spec.pod_name.clone())
            .text(self.spec.service_account_name.clone())
            .text(self.spec.node_name.clone())
            .text(self.spec.signer_name.clone())
            .text(state.unwrap_or("Pending"))
            .text(format_labels(&self.spec.unverified_user_annotations));
    }
}

impl TableRow for LeaseCandidate {
    const COLUMNS: &'static [Column] = columns::LEASE_CANDIDATE_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        cells
            .text(self.metadata.name.clone())
            .text(self.spec.lease_name.clone())
            .text(self.spec.binary_version.clone())
            .text(self.spec.emulation_version.clone())
            .age(&self.metadata);
    }
}

impl TableRow for StorageVersion {
    const COLUMNS: &'static [Column] = columns::STORAGE_VERSION_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        const MOST: usize = 3;
        let versions = &self.status.storage_versions;
        let shown = versions.iter().take(MOST);
        let shown = shown.map(|it| format!("{}={}", it.api_server_id, it.encoding_version));
        let mut text = shown.collect::<Vec<_>>().join(",");
        if versions.len() > MOST {
            text.push_str(&format!(" + {} more...", versions.len() - MOST));
        }
        if text.is_empty() {
            UNSET.clone_into(&mut text);
        }
        let common = self.status.common_encoding_version.as_deref();
        cells
            .text(self.metadata.name.clone())
            .text(common.unwrap_or(UNSET))
            .text(text)
            .age(&self.metadata);
    }
}

impl TableRow for DeviceTaintRule {
    const COLUMNS: &'static [Column] = columns::DEVICE_TAINT_RULE_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        let taint = &self.spec.taint;
        cells
            .text(self.metadata.name.clone())
            .text(taint.key.clone())
            .text(taint.value.clone())
            .text(taint.effect.clone())
            .text(taint.time_added.map(since).unwrap_or_default())
            .age(&self.metadata);
    }
}

impl TableRow for ResourcePoolStatusRequest {
    const COLUMNS: &'static [Column] = columns::POOL_STATUS_REQUEST_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        let status = self.status.as_deref();
        let conditions = status.map_or(&[][..], |status| &status.conditions);
        let decided = conditions.iter().find(|condition| {
            condition.status == "True" && matches!(&*condition.type_, "Complete" | "Failed")
        });
        let pools = status.map_or(&[][..], |status| &status.pools);
        let count = status.and_then(|status| status.pool_count).unwrap_or(0);
        let kind = decided.map_or("Pending", |condition| condition.type_.as_str());
        let sum = |of: fn(&PoolStatus) -> i32| {
            if status.is_none() || kind == "Failed" {
                return "-".to_owned();
            }
            let sum = pools.iter().map(of).fold(0, i32::wrapping_add);
            sum.to_string()
        };
        // Pools that the status has no room for.
        let truncated = kind == "Complete" && i64::from(count) > pools.len() as i64;
        let state = if truncated {
            format!("Complete ({}/{count} pools)", pools.len())
        } else {
            kind.to_owned()
        };
        let completed = decided.filter(|condition| condition.type_ == "Complete");
        cells
            .text(self.metadata.name.clone())
            .text(self.spec.driver.clone())
            .text(sum(|pool| pool.total_devices.unwrap_or(0)))
            .text(sum(|pool| pool.available_devices.unwrap_or(0)))
            .text(sum(|pool| pool.allocated_devices.unwrap_or(0)))
            .text(sum(|pool| pool.unavailable_devices.unwrap_or(0)))
            .text(sum(|pool| i32::from(pool.validation_error.is_some())))
            .int(count)
            .text(state)
            .text(completed.map_or_else(|| NONE.to_owned(), |it| since(it.last_transition_time)));
    }
}

impl TableRow for Workload {
    const COLUMNS: &'static [Column] = columns::WORKLOAD_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        cells.text(self.metadata.name.clone()).age(&self.metadata);
    }
}

impl TableRow for PodGroup {
    const COLUMNS: &'static [Column] = columns::POD_GROUP_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        let policy = match self.spec.scheduling_policy.gang {
            Some(_) => "Gang",
            None => "Basic",
        };
        let reference = self.spec.pod_group_template_ref.as_deref();
        let workload = reference.map(|reference| {
            let workload = reference.workload.as_deref();
            workload.map_or("", |workload| workload.workload_name.as_str())
        });
        let last = |kind: &str| {
            let mut conditions = self.status.conditions.iter().rev();
            conditions.find(|condition| condition.type_ == kind)
        };
        let state = match (last("DisruptionTarget"), last("PodGroupScheduled")) {
            (Some(target), _) => target.reason.as_str(),
            (None, Some(scheduled)) if scheduled.status == "True" => "Scheduled",
            (None, Some(_)) => "Unschedulable",
            (None, None) => "Pending",
        };
        cells
            .text(self.metadata.name.clone())
            .text(policy)
            .text(workload.unwrap_or(NONE))
            .text(state)
            .age(&self.metadata);
    }
}

impl TableRow for StorageVersionMigration {
    const COLUMNS: &'static [Column] = columns::STORAGE_VERSION_MIGRATION_COLUMNS;

    fn cells(&self, cells: &mut Cells) {
        let resource = &self.spec.resource;
        let name = match resource.group.as_str() {
            "" => resource.resource.clone(),
            group => format!("{}.{group}", resource.resource),
        };
        let conditions = self.status.conditions.iter();
        let state = conditions
            .filter(|it| it.status == "True")
            .map(|it| it.type_.as_str());
        let state = state
            .filter(|kind| matches!(*kind, "Running" | "Failed" | "Succeeded"))
            .last();
        cells
            .text(self.metadata.name.clone())
            .text(name)
            .text(state.unwrap_or("Unknown"));
    }
}
