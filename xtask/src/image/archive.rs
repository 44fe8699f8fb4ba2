//! An image's file, which two formats read: Docker's (`manifest.json`) and OCI's image layout (`oci-layout`, `index.json`). Both name the same blobs.
//!
//! Comes in: a name, an architecture, the binary's bytes. Goes out: bytes that depend on nothing else; no time, no user, no order by chance.

use std::{collections::BTreeMap, io::Write as _};

use anyhow::Result;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::reference::Reference;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// Images have a date of birth; a real one would make each build another image.
const CREATED: &str = "1970-01-01T00:00:00Z";

/// The archive of an image that has the binary as `/understudy`.
pub(super) fn archive(reference: &Reference, architecture: &str, binary: &[u8]) -> Result<Vec<u8>> {
    let layer = Blob::new(tar([("understudy", 0o755, binary)])?);
    let config = Blob::json(&config(architecture, &layer))?;
    let manifest = Blob::json(&json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config.descriptor(CONFIG),
        "layers": [layer.descriptor(LAYER)],
    }))?;
    let mut described = manifest.descriptor(MANIFEST);
    described["platform"] = json!({"architecture": architecture, "os": "linux"});
    described["annotations"] = json!({
        // containerd takes the first as the name, others the second as the tag.
        "io.containerd.image.name": reference.full(),
        "org.opencontainers.image.ref.name": reference.tag(),
    });
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [described],
    });
    let docker = json!([{
        "Config": config.path(),
        "RepoTags": [reference.to_string()],
        "Layers": [layer.path()],
    }]);
    let mut files = BTreeMap::from([
        ("index.json".to_owned(), serde_json::to_vec(&index)?),
        ("manifest.json".to_owned(), serde_json::to_vec(&docker)?),
        ("oci-layout".to_owned(), serde_json::to_vec(&json!({"imageLayoutVersion": "1.0.0"}))?),
    ]);
    files.extend([layer, config, manifest].map(|blob| (blob.path(), blob.bytes)));
    tar(files.iter().map(|(path, bytes)| (path.as_str(), 0o644, bytes.as_slice())))
}

fn config(architecture: &str, layer: &Blob) -> Value {
    json!({
        "architecture": architecture,
        "os": "linux",
        "created": CREATED,
        "config": {
            // Numbers need no /etc/passwd.
            "User": "0",
            "Entrypoint": ["/understudy"],
            "Cmd": ["node"],
            "WorkingDir": "/",
            "Labels": {
                "org.opencontainers.image.title": "understudy",
                "org.opencontainers.image.version": env!("CARGO_PKG_VERSION"),
                "org.opencontainers.image.licenses": env!("CARGO_PKG_LICENSE"),
            },
        },
        // Of an uncompressed layer the digest is that of its content, too.
        "rootfs": {"type": "layers", "diff_ids": [layer.digest()]},
        "history": [{"created": CREATED, "created_by": "cargo xtask image"}],
    })
}

/// Bytes that are named by their digest.
struct Blob {
    hex: String,
    bytes: Vec<u8>,
}

impl Blob {
    fn new(bytes: Vec<u8>) -> Self {
        let hex = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        Self { hex, bytes }
    }

    fn json(value: &Value) -> Result<Self> {
        Ok(Self::new(serde_json::to_vec(value)?))
    }

    fn digest(&self) -> String {
        format!("sha256:{}", self.hex)
    }

    fn path(&self) -> String {
        format!("blobs/sha256/{}", self.hex)
    }

    fn descriptor(&self, media_type: &str) -> Value {
        json!({"mediaType": media_type, "digest": self.digest(), "size": self.bytes.len()})
    }
}

/// Files of root's, from the beginning of time, in the order they come.
fn tar<'a>(files: impl IntoIterator<Item = (&'a str, u32, &'a [u8])>) -> Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, mode, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(bytes.len() as u64);
        builder.append_data(&mut header, path, bytes)?;
    }
    let mut archive = builder.into_inner()?;
    archive.flush()?;
    Ok(archive)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    const BINARY: &[u8] = b"\x7fELF and the rest";

    fn example(reference: &str, architecture: &str) -> Vec<u8> {
        archive(&reference.parse().unwrap(), architecture, BINARY).unwrap()
    }

    /// Every file of an archive, after a look at what must not vary.
    fn unpacked(archive: &[u8]) -> BTreeMap<String, (u32, Vec<u8>)> {
        let mut files = BTreeMap::new();
        let mut order = Vec::new();
        for entry in tar::Archive::new(archive).entries().unwrap() {
            let mut entry = entry.unwrap();
            let header = entry.header();
            assert_eq!((header.mtime().unwrap(), header.uid().unwrap(), header.gid().unwrap()), (0, 0, 0));
            let mode = header.mode().unwrap();
            let path = entry.path().unwrap().to_str().unwrap().to_owned();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            order.push(path.clone());
            files.insert(path, (mode, bytes));
        }
        assert!(order.is_sorted(), "{order:?}");
        files
    }

    fn parsed(files: &BTreeMap<String, (u32, Vec<u8>)>, path: &str) -> Value {
        serde_json::from_slice(&files[path].1).unwrap()
    }

    /// The path of what a descriptor describes, which must be there with that size.
    fn followed(files: &BTreeMap<String, (u32, Vec<u8>)>, descriptor: &Value) -> String {
        let path = descriptor["digest"].as_str().unwrap().replace("sha256:", "blobs/sha256/");
        assert_eq!(descriptor["size"], files[&path].1.len(), "{descriptor}");
        path
    }

    /// Fails if a blob is named by the digest of other bytes (for instance, of the layer before it was closed).
    #[test]
    fn each_blob_has_the_digest_that_it_is_named_by() {
        let files = unpacked(&example("understudy:1", "amd64"));
        let blobs: Vec<_> =
            files.iter().filter_map(|(path, file)| Some((path.strip_prefix("blobs/sha256/")?, &file.1))).collect();
        assert_eq!(blobs.len(), 3, "layer, configuration, manifest");
        for (name, bytes) in blobs {
            let digest: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(name, digest);
        }
        // A value of its own, so that not both sides can be wrong alike: FIPS 180-2, appendix B.1.
        let known = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Blob::new(b"abc".to_vec()).digest(), known);
    }

    /// Fails if Docker's manifest names the OCI manifest as its configuration, or if either names a layer of its own.
    #[test]
    fn both_formats_say_the_same() {
        let files = unpacked(&example("registry:5000/understudy:1", "arm64"));
        assert_eq!(parsed(&files, "oci-layout")["imageLayoutVersion"], "1.0.0");
        let entry = &parsed(&files, "index.json")["manifests"][0];
        assert_eq!(entry["annotations"]["io.containerd.image.name"], "registry:5000/understudy:1");
        assert_eq!(entry["annotations"]["org.opencontainers.image.ref.name"], "1");
        assert_eq!(entry["platform"], json!({"architecture": "arm64", "os": "linux"}));
        let manifest = parsed(&files, &followed(&files, entry));
        let config = followed(&files, &manifest["config"]);
        let layer = followed(&files, &manifest["layers"][0]);
        assert_eq!(manifest["layers"].as_array().unwrap().len(), 1);
        assert_eq!(
            parsed(&files, "manifest.json"),
            json!([{"Config": config, "RepoTags": ["registry:5000/understudy:1"], "Layers": [layer]}])
        );
        let config = parsed(&files, &config);
        assert_eq!((&config["architecture"], &config["config"]["User"]), (&json!("arm64"), &json!("0")));
        assert_eq!(config["config"]["Entrypoint"], json!(["/understudy"]));
        assert_eq!(config["config"]["Cmd"], json!(["node"]));
        assert_eq!(config["rootfs"]["diff_ids"], json!([manifest["layers"][0]["digest"]]));
    }

    #[test]
    fn the_layer_is_the_binary_and_nothing_else() {
        let files = unpacked(&example("understudy:1", "amd64"));
        let docker = parsed(&files, "manifest.json");
        let layer = unpacked(&files[docker[0]["Layers"][0].as_str().unwrap()].1);
        assert_eq!(layer, BTreeMap::from([("understudy".to_owned(), (0o755, BINARY.to_vec()))]));
    }

    /// Fails if a time, the builder's user or the order of a hash map gets into it.
    #[test]
    fn the_same_binary_gives_the_same_bytes_and_another_one_others() {
        let archived = example("understudy:1", "amd64");
        assert_eq!(archived, example("understudy:1", "amd64"));
        assert_ne!(archived, example("understudy:1", "arm64"));
        assert_ne!(archived, archive(&"understudy:1".parse().unwrap(), "amd64", b"other").unwrap());
    }
}
