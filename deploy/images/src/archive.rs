//! An OCI image layout (image-spec v1) in one tar file, as `ctr images import` reads it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;

use aws_lc_rs::digest;
use serde_json::{Value, json};

/// An image: its names, its layers and how it is started.
pub(crate) struct Image {
    pub(crate) names: Vec<String>,
    pub(crate) layers: Vec<Vec<u8>>,
    pub(crate) entrypoint: Vec<String>,
    /// `uid:gid`, or empty for root.
    pub(crate) user: String,
}

/// An archive under construction. Blobs are kept once, by digest.
#[derive(Default)]
pub(crate) struct Archive {
    blobs: BTreeMap<String, Vec<u8>>,
    manifests: Vec<Value>,
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

impl Archive {
    pub(crate) fn add(&mut self, image: Image) {
        let layers: Vec<Value> = image
            .layers
            .into_iter()
            .map(|layer| self.descriptor(LAYER, layer))
            .collect();
        let config = json!({
            "architecture": architecture(),
            "os": "linux",
            "config": {
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                "Entrypoint": image.entrypoint,
                "User": image.user,
                "WorkingDir": "/",
            },
            // Layers are not compressed, so a layer's digest is also its diff id.
            "rootfs": {"type": "layers", "diff_ids": layers.iter().map(|layer| layer["digest"].clone()).collect::<Vec<_>>()},
        });
        let config = self.descriptor(CONFIG, config.to_string().into_bytes());
        let manifest =
            json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
        let descriptor = self.descriptor(MANIFEST, manifest.to_string().into_bytes());
        for name in image.names {
            let mut named = descriptor.clone();
            named["annotations"] = json!({"io.containerd.image.name": name});
            named["platform"] = json!({"architecture": architecture(), "os": "linux"});
            self.manifests.push(named);
        }
    }

    fn descriptor(&mut self, media_type: &str, content: Vec<u8>) -> Value {
        let hash = digest::digest(&digest::SHA256, &content);
        let hex: String = hash
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let descriptor = json!({"mediaType": media_type, "digest": format!("sha256:{hex}"), "size": content.len()});
        self.blobs.insert(hex, content);
        descriptor
    }

    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        let mut tar = tar::Builder::new(File::create(path)?);
        append(&mut tar, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        let index = json!({"schemaVersion": 2, "manifests": self.manifests});
        append(&mut tar, "index.json", index.to_string().as_bytes())?;
        for (hex, content) in &self.blobs {
            append(&mut tar, &format!("blobs/sha256/{hex}"), content)?;
        }
        tar.into_inner()?.sync_all()
    }
}

fn append(tar: &mut tar::Builder<File>, path: &str, content: &[u8]) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(content.len() as u64);
    header.set_mtime(0);
    tar.append_data(&mut header, path, content)
}

/// This machine's architecture by the name that OCI (and Go) gives it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_holds_every_blob_that_it_names() {
        let mut archive = Archive::default();
        archive.add(Image {
            names: vec!["pintle.local/a:1".into(), "pintle.local/a:2".into()],
            layers: vec![b"layer".to_vec()],
            entrypoint: vec!["/a".into()],
            user: String::new(),
        });
        assert_eq!(archive.manifests.len(), 2);
        let hex = |descriptor: &Value| {
            descriptor["digest"]
                .as_str()
                .expect("a digest")
                .trim_start_matches("sha256:")
                .to_owned()
        };
        let manifest: Value =
            serde_json::from_slice(&archive.blobs[&hex(&archive.manifests[0])]).expect("JSON");
        let config: Value =
            serde_json::from_slice(&archive.blobs[&hex(&manifest["config"])]).expect("JSON");
        assert_eq!(
            config["rootfs"]["diff_ids"][0],
            manifest["layers"][0]["digest"]
        );
        assert_eq!(archive.blobs[&hex(&manifest["layers"][0])], b"layer");
        assert_eq!(manifest["layers"][0]["size"], 5);
    }
}
