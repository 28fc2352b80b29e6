//! The status of claims: what the scheduler has allocated, and what drivers tell of it.

use std::collections::BTreeSet;

use api_types::resource::v1::*;
use apimachinery::field::BadValue;
use apimachinery::validation::{is_valid_interface_address, validate_conditions};

use super::*;
use crate::apis::gates;

const MOST_CONDITIONS: usize = 8;
const MOST_ADDRESSES: usize = 16;
const LONGEST_INTERFACE_NAME: usize = 256;
const LONGEST_HARDWARE_ADDRESS: usize = 128;

/// A device, or a share of it: driver, pool, device and share.
type DeviceId<'a> = (&'a str, &'a str, &'a str, &'a str);

fn id_of(device: &AllocatedDeviceStatus) -> DeviceId<'_> {
    let share = device.share_id.as_deref().unwrap_or_default();
    (&device.driver, &device.pool, &device.device, share)
}

fn allocated(status: &ResourceClaimStatus) -> BTreeSet<DeviceId<'_>> {
    let allocation = status.allocation.iter();
    let results = allocation.flat_map(|allocation| &allocation.devices.results);
    results
        .map(|result| {
            let share = result.share_id.as_deref().unwrap_or_default();
            (&*result.driver, &*result.pool, &*result.device, share)
        })
        .collect()
}

fn show((driver, pool, device, share): DeviceId<'_>) -> BadValue {
    let share = match share {
        "" => String::new(),
        share => format!("/{share}"),
    };
    BadValue::Text(format!("{driver}/{pool}/{device}{share}"))
}

/// Devices that are no longer allocated have no status. Upstream: dropDeallocatedStatusDevices and
/// dropDisabledDRAResourceClaimDeviceStatusFields of pkg/registry/resource/resourceclaim.
pub(crate) fn drop_stale_devices(new: &mut ResourceClaim, old: &ResourceClaim) {
    if !gates::enabled("DRAResourceClaimDeviceStatus") && old.status.devices.is_empty() {
        new.status.devices.clear();
        return;
    }
    let mut gone = allocated(&old.status);
    let devices = std::mem::take(&mut new.status.devices);
    for kept in allocated(&new.status) {
        gone.remove(&kept);
    }
    let kept = devices.into_iter();
    new.status.devices = kept
        .filter(|device| !gone.contains(&id_of(device)))
        .collect();
}

/// What drivers tell of the devices of a claim.
fn devices(status: &ResourceClaimStatus, path: &Path) -> ErrorList {
    let allocated = allocated(status);
    let mut errors = items(&status.devices, usize::MAX, path, |device, path| {
        device_status(device, &allocated, path)
    });
    let mut seen = BTreeSet::new();
    for (index, device) in status.devices.iter().enumerate() {
        if !seen.insert(id_of(device)) {
            errors.push(field::duplicate(&path.index(index), show(id_of(device))));
        }
    }
    errors
}

fn device_status(
    device: &AllocatedDeviceStatus,
    allocated: &BTreeSet<DeviceId<'_>>,
    path: &Path,
) -> ErrorList {
    let mut errors = driver_name(&device.driver, &path.child("driver"));
    errors.extend(pool_name(&device.pool, &path.child("pool")));
    errors.extend(dns_label(&device.device, &path.child("device")));
    if let Some(share) = &device.share_id {
        errors.extend(share_id(share, &path.child("shareID")));
    }
    if !allocated.contains(&id_of(device)) {
        let detail = "must be an allocated device in the claim";
        errors.push(field::invalid(path, show(id_of(device)), detail));
    }
    let conditions = path.child("conditions");
    if device.conditions.len() > MOST_CONDITIONS {
        let count = Some(device.conditions.len());
        errors.push(field::too_many(&conditions, count, MOST_CONDITIONS));
    }
    errors.extend(validate_conditions(&device.conditions, &conditions));
    if let Some(data) = device.data.as_ref().filter(|data| !data.raw.is_empty()) {
        errors.extend(parameters(data, false, &path.child("data")));
    }
    if let Some(network) = &device.network_data {
        errors.extend(network_data(network, &path.child("networkData")));
    }
    errors
}

fn share_id(id: &str, path: &Path) -> ErrorList {
    let groups: Vec<&str> = id.split('-').collect();
    let hexadecimal = |group: &&str| group.bytes().all(|byte| byte.is_ascii_hexdigit());
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    if lengths != [8, 4, 4, 4, 12] || !groups.iter().all(hexadecimal) {
        let detail = match id.len() {
            36 => "error validating uid: invalid UUID format".to_owned(),
            length => format!("error validating uid: invalid UUID length: {length}"),
        };
        return field::invalid(path, id, detail).into();
    }
    if id.bytes().any(|byte| byte.is_ascii_uppercase()) {
        let detail = "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters";
        return field::invalid(path, id, detail).into();
    }
    ErrorList::new()
}

fn network_data(data: &NetworkDeviceData, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for (name, text, longest) in [
        (
            "interfaceName",
            &data.interface_name,
            LONGEST_INTERFACE_NAME,
        ),
        (
            "hardwareAddress",
            &data.hardware_address,
            LONGEST_HARDWARE_ADDRESS,
        ),
    ] {
        if text.len() > longest {
            errors.push(field::too_long(&path.child(name), longest));
        }
    }
    errors.extend(set(
        &data.ips,
        MOST_ADDRESSES,
        &path.child("ips"),
        |address| address,
        |address, path| is_valid_interface_address(path, address),
    ));
    errors
}

pub(crate) fn validate_resource_claim_status_update(
    new: &ResourceClaim,
    old: &ResourceClaim,
    admin: &AdminAccess,
) -> ErrorList {
    let mut errors = ErrorList::new();
    let granted = |claim: &ResourceClaim| {
        let allocation = claim.status.allocation.as_ref()?;
        let mut results = allocation.devices.results.iter();
        results.position(|result| result.admin_access == Some(true))
    };
    if let (Some(index), None) = (granted(new), granted(old)) {
        let path = path(&["status", "allocation", "devices", "results"]).index(index);
        errors.extend(denied_access(admin, &path.child("adminAccess")));
    }
    errors.extend(object_meta_update(&new.metadata, &old.metadata));
    let (path, status) = (Path::new("status"), &new.status);
    let reserved_path = path.child("reservedFor");
    errors.extend(set(
        &status.reserved_for,
        MOST_CONSUMERS,
        &reserved_path,
        |consumer| &consumer.uid,
        |consumer, path| {
            let fields = [
                ("resource", &consumer.resource),
                ("name", &consumer.name),
                ("uid", &consumer.uid),
            ];
            let missing = fields.into_iter().filter(|(_, value)| value.is_empty());
            missing
                .map(|(child, _)| field::required(&path.child(child), ""))
                .collect()
        },
    ));
    errors.extend(devices(status, &path.child("devices")));
    let before = &old.status.reserved_for;
    if !status.reserved_for.is_empty() && status.allocation.is_none() {
        let detail = "may not be specified when `allocated` is not set";
        errors.push(field::forbidden(&reserved_path, detail));
    } else if new.metadata.deletion_timestamp.is_some()
        && status.reserved_for.iter().any(|it| !before.contains(it))
    {
        let detail = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
        errors.push(field::forbidden(&reserved_path, detail));
    }
    let path = path.child("allocation");
    match (&status.allocation, &old.status.allocation) {
        (Some(allocation), Some(before)) => {
            errors.extend(immutable(&**allocation, &**before, &path, || {
                go_value::bad_value(&**allocation)
            }));
        }
        (Some(allocation), None) => {
            let known = request_names(&new.spec.devices);
            errors.extend(allocation_result(allocation, &known, &path));
        }
        _ => {}
    }
    errors
}

fn allocation_result(
    allocation: &AllocationResult,
    known: &Requests<'_>,
    path: &Path,
) -> ErrorList {
    let devices_path = path.child("devices");
    let mut errors = items(
        &allocation.devices.results,
        MOST_RESULTS,
        &devices_path.child("results"),
        |result, path| {
            let mut errors = request_reference(&result.request, known, &path.child("request"));
            errors.extend(driver_name(&result.driver, &path.child("driver")));
            errors.extend(pool_name(&result.pool, &path.child("pool")));
            errors.extend(dns_label(&result.device, &path.child("device")));
            errors
        },
    );
    errors.extend(items(
        &allocation.devices.config,
        2 * MOST_CONFIGS,
        &devices_path.child("config"),
        |config, path| {
            let sources = ["FromClaim", "FromClass"];
            let mut errors = required_one_of(&config.source, &sources, &path.child("source"));
            errors.extend(request_references(&config.requests, known, path));
            errors.extend(configuration(&config.device_configuration, false, path));
            errors
        },
    ));
    if let Some(selector) = &allocation.node_selector {
        errors.extend(node_selector(selector, false, &path.child("nodeSelector")));
    }
    errors
}
