//! Removal of unused images when the file system they are on fills up, or when they are old.
//!
//! Upstream: `pkg/kubelet/images/image_gc_manager.go`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;

use crate::cri::{Cri, CriError, v1};
use crate::events::{Kind, Recorder};
use crate::metrics::Metrics;

/// When images go.
#[derive(Clone, Copy, Debug)]
pub struct ImageGcPolicy {
    /// Usage in percent at which removal begins; never at 100.
    pub high_threshold_percent: i64,
    /// Usage in percent it aims at.
    pub low_threshold_percent: i64,
    /// Younger images stay.
    pub min_age: Duration,
    /// Images unused for longer go in any case; zero turns it off.
    pub max_age: Duration,
}

#[derive(Clone, Debug)]
struct Record {
    first_detected: Timestamp,
    last_used: Timestamp,
    size: u64,
    pinned: bool,
}

/// Capacity and free space of the file system images are on, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageFs {
    /// All of it.
    pub capacity: i64,
    /// Free for us.
    pub available: i64,
}

/// Knows since when images are unused.
pub struct ImageGc {
    cri: Cri,
    recorder: Arc<Recorder>,
    metrics: Arc<Metrics>,
    policy: ImageGcPolicy,
    records: Mutex<HashMap<String, Record>>,
    images: Mutex<Vec<v1::Image>>,
    started: Timestamp,
}

impl ImageGc {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(
        cri: Cri,
        recorder: Arc<Recorder>,
        metrics: Arc<Metrics>,
        policy: ImageGcPolicy,
    ) -> Self {
        ImageGc {
            cri,
            recorder,
            metrics,
            policy,
            records: Mutex::default(),
            images: Mutex::default(),
            started: Timestamp::now(),
        }
    }

    /// Images for the node's status, biggest first, as of the last look.
    #[must_use]
    pub fn cached_images(&self) -> Vec<v1::Image> {
        self.images.lock().clone()
    }

    /// Looks at images and their users.
    ///
    /// # Errors
    /// When the runtime does not answer.
    pub async fn detect(&self, now: Timestamp) -> Result<HashSet<String>, CriError> {
        let images = self.cri.list_images().await?;
        let mut used = HashSet::new();
        for container in self.cri.list_containers(None).await? {
            used.insert(if container.image_id.is_empty() {
                container.image_ref
            } else {
                container.image_id
            });
            used.extend(container.image.map(|image| image.image));
        }
        let mut records = self.records.lock();
        for image in &images {
            let record = records.entry(image.id.clone()).or_insert_with(|| Record {
                first_detected: now,
                last_used: Timestamp::UNIX_EPOCH,
                size: image.size,
                pinned: image.pinned,
            });
            let in_use = used.contains(&image.id)
                || image
                    .repo_digests
                    .iter()
                    .chain(&image.repo_tags)
                    .any(|name| used.contains(name));
            if in_use {
                used.insert(image.id.clone());
                record.last_used = now;
            }
            record.size = image.size;
            record.pinned = image.pinned;
        }
        let present: HashSet<&str> = images.iter().map(|image| image.id.as_str()).collect();
        records.retain(|id, _| present.contains(id.as_str()));
        drop(records);
        let mut images = images;
        images.sort_by_key(|image| std::cmp::Reverse(image.size));
        *self.images.lock() = images;
        Ok(used)
    }

    fn in_eviction_order(&self, used: &HashSet<String>) -> Vec<(String, Record)> {
        let mut order: Vec<(String, Record)> = self
            .records
            .lock()
            .iter()
            .filter(|(id, record)| !used.contains(*id) && !record.pinned)
            .map(|(id, record)| (id.clone(), record.clone()))
            .collect();
        order.sort_by_key(|(_, record)| (record.last_used, record.first_detected));
        order
    }

    async fn free(&self, id: &str, reason: &str) -> Result<(), CriError> {
        self.cri
            .remove_image(v1::ImageSpec {
                image: id.to_owned(),
                ..Default::default()
            })
            .await?;
        self.records.lock().remove(id);
        self.metrics
            .image_garbage_collected
            .with_label_values(&[reason])
            .inc();
        Ok(())
    }

    /// Removes images that are too old, and more while usage is over the threshold.
    ///
    /// # Errors
    /// When too little could be freed; the text also goes into an event.
    pub async fn collect(&self, fs: ImageFs) -> Result<(), String> {
        let now = Timestamp::now();
        let used = self.detect(now).await.map_err(|error| error.to_string())?;
        let mut order = self.in_eviction_order(&used);
        if !self.policy.max_age.is_zero()
            && now.duration_since(self.started).unsigned_abs() > self.policy.max_age
        {
            let mut rest = Vec::new();
            for (id, record) in order {
                if now.duration_since(record.last_used).unsigned_abs() > self.policy.max_age
                    && self.free(&id, "age").await.is_ok()
                {
                    continue;
                }
                rest.push((id, record));
            }
            order = rest;
        }
        let ImageFs {
            capacity,
            available,
        } = fs;
        let available = available.min(capacity);
        if capacity == 0 {
            let text = "invalid capacity 0 on image filesystem";
            self.recorder
                .node(Kind::Warning, "InvalidDiskCapacity", text);
            return Err(text.to_owned());
        }
        let usage = 100 - available * 100 / capacity;
        if usage < self.policy.high_threshold_percent {
            return Ok(());
        }
        let wanted = capacity * (100 - self.policy.low_threshold_percent) / 100 - available;
        tracing::info!(
            usage,
            wanted,
            "Disk usage on image filesystem is over the high threshold, trying to free bytes down to the low threshold"
        );
        let freed = self.free_space(wanted, now, order).await?;
        if freed < wanted {
            let text = format!(
                "Insufficient free disk space on the node's image filesystem ({usage}% of {} used). Failed to free sufficient \
                 space by deleting unused images (freed {freed} bytes). Investigate disk usage, as it could be used by active \
                 images, logs, volumes, or other data.",
                format_size(capacity)
            );
            self.recorder
                .node(Kind::Warning, "FreeDiskSpaceFailed", &text);
            return Err(text);
        }
        Ok(())
    }

    async fn free_space(
        &self,
        wanted: i64,
        now: Timestamp,
        order: Vec<(String, Record)>,
    ) -> Result<i64, String> {
        let mut freed = 0;
        let mut errors = Vec::new();
        for (id, record) in order {
            if record.last_used >= now
                || now.duration_since(record.first_detected).unsigned_abs() < self.policy.min_age
            {
                continue;
            }
            match self.free(&id, "space").await {
                Ok(()) => freed += i64::try_from(record.size).unwrap_or(i64::MAX),
                Err(error) => errors.push(error.to_string()),
            }
            if freed >= wanted {
                break;
            }
        }
        if errors.is_empty() {
            Ok(freed)
        } else {
            Err(format!(
                "wanted to free {wanted} bytes, but freed {freed} bytes space with errors in image deletion: {}",
                errors.join(", ")
            ))
        }
    }

    /// Removes every unused image, because the node runs out of disk.
    ///
    /// # Errors
    /// When the runtime does not answer.
    pub async fn delete_unused(&self) -> Result<(), String> {
        let now = Timestamp::now();
        let used = self.detect(now).await.map_err(|error| error.to_string())?;
        let order = self.in_eviction_order(&used);
        self.free_space(i64::MAX, now, order).await.map(|_| ())
    }
}

/// Bytes as `12.0 GiB`.
fn format_size(bytes: i64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    #[expect(clippy::cast_precision_loss, reason = "for people to read")]
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{bytes} B")
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (bytes, want) in [(500, "500 B"), (1536, "1.5 KiB"), (12 << 30, "12.0 GiB")] {
            assert_eq!(format_size(bytes), want);
        }
    }
}
