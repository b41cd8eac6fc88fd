//! The images of the store, as the Mirror holds them: what a reference stands for. Pure.

use std::collections::{BTreeMap, HashMap};

use domain::BootStage;
use domain::feed::{Change, View};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::client::{Blob, Image, Part, Resolved};
use crate::digest::digest_of_bytes;

/// Kinds of the feed.
pub(crate) const MANIFEST: &str = "image-manifest";
pub(crate) const TAG: &str = "image-tag";

/// The longest name or tag.
const WORD_MAX: usize = 128;
/// What an image that says nothing else is for.
const USUAL: &str = "x86_64";

/// What `name:tag` or `sha256:…` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reference {
    Tag {
        name: String,
        tag: String,
    },
    /// 64 hexadecimal digits.
    Digest(String),
}

/// A manifest: the files of an image on one architecture. Digests are 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) architecture: String,
    pub(crate) kernel: File,
    pub(crate) initrd: File,
    pub(crate) root: Option<File>,
}

/// A file of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct File {
    pub(crate) digest: String,
    pub(crate) bytes: u64,
}

/// A tag on one architecture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tag {
    pub(crate) name: String,
    pub(crate) tag: String,
    pub(crate) architecture: String,
    pub(crate) manifest: String,
    pub(crate) published: String,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    manifests: HashMap<String, Manifest>,
    /// By name and tag, then by architecture.
    tags: BTreeMap<(String, String), BTreeMap<String, Tag>>,
    /// Where a tag is, by its key in the feed.
    keys: HashMap<String, (String, String, String)>,
}

/// `sha256:` and 64 digits, or the digits alone; in lower case.
pub(crate) fn parse_digest(text: &str) -> Option<String> {
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    (hex.len() == 64 && hex.bytes().all(|it| it.is_ascii_hexdigit())).then(|| hex.to_ascii_lowercase())
}

/// The kernel's word for an architecture; it is a known one.
pub(crate) fn parse_architecture(text: &str) -> Option<&'static str> {
    Some(match text {
        "x86_64" | "amd64" | "x86-64" => "x86_64",
        "arm64" | "aarch64" => "arm64",
        "riscv64" => "riscv64",
        "loong64" | "loongarch64" => "loong64",
        "i386" | "i686" | "x86" => "i386",
        _ => return None,
    })
}

fn is_word(text: &str) -> bool {
    let fits = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'.' | b'-' | b'_' | b'+');
    (1..=WORD_MAX).contains(&text.len()) && text.bytes().all(fits) && !text.starts_with('.')
}

impl Reference {
    /// `name:tag`, `name` for its tag `latest`, or `sha256:…`. A name may have parts with slashes between.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if let Some(hex) = text.strip_prefix("sha256:").and_then(parse_digest) {
            return Some(Self::Digest(hex));
        }
        let (name, tag) = text.rsplit_once(':').unwrap_or((text, "latest"));
        let sound = name.len() <= 2 * WORD_MAX && name.split('/').all(is_word) && is_word(tag);
        sound.then(|| Self::Tag { name: name.to_owned(), tag: tag.to_owned() })
    }
}

impl Manifest {
    /// The digest of its text, which is the same for the same files.
    pub(crate) fn digest(&self) -> String {
        let root = self.root.as_ref().map(|it| &it.digest);
        let text = serde_json::json!({"architecture": self.architecture, "kernel": self.kernel.digest,
            "initrd": self.initrd.digest, "root": root});
        digest_of_bytes(text.to_string().as_bytes())
    }

    pub(crate) fn files(&self) -> impl Iterator<Item = &File> {
        [&self.kernel, &self.initrd].into_iter().chain(&self.root)
    }

    /// The file that is `kernel`, `initrd` or `root`.
    pub(crate) fn member(&self, word: &str) -> Option<(&File, BootStage)> {
        match word {
            "kernel" => Some((&self.kernel, BootStage::Kernel)),
            "initrd" => Some((&self.initrd, BootStage::Initrd)),
            "root" => self.root.as_ref().map(|it| (it, BootStage::Root)),
            _ => None,
        }
    }

    /// As it is told.
    pub(crate) fn resolved(&self, reference: &str, digest: &str) -> Resolved {
        Resolved {
            reference: reference.to_owned(),
            architecture: Some(self.architecture.clone()),
            digest: Some(format!("sha256:{digest}")),
            kernel: self.kernel.part(),
            initrd: self.initrd.part(),
            root: self.root.as_ref().map(File::part),
        }
    }
}

impl File {
    /// Where it is served.
    pub(crate) fn path(&self) -> String {
        format!("blobs/sha256/{}", self.digest)
    }

    fn part(&self) -> Part {
        Part { digest: Some(format!("sha256:{}", self.digest)), bytes: self.bytes, path: self.path() }
    }

    pub(crate) fn blob(&self) -> Blob {
        Blob { digest: format!("sha256:{}", self.digest), bytes: self.bytes }
    }
}

impl Tag {
    /// Its key in the feed.
    pub(crate) fn key(&self) -> String {
        format!("{}:{}@{}", self.name, self.tag, self.architecture)
    }
}

impl Catalog {
    /// What a reference stands for on this architecture; without one, on the only one, else on the usual one.
    pub(crate) fn find(
        &self,
        reference: &Reference,
        architecture: Option<&str>,
    ) -> Option<(&str, &Manifest)> {
        let digest = match reference {
            Reference::Digest(digest) => digest,
            Reference::Tag { name, tag } => {
                let each = self.tags.get(&(name.clone(), tag.clone()))?;
                let only = if each.len() == 1 { each.values().next() } else { each.get(USUAL) };
                &architecture.map_or(only, |it| each.get(it))?.manifest
            }
        };
        let (digest, manifest) = self.manifests.get_key_value(digest)?;
        let fits = architecture.is_none_or(|it| manifest.architecture == it);
        fits.then_some((digest.as_str(), manifest))
    }

    /// The manifests that a tag stands for, on every architecture.
    pub(crate) fn manifests_of(&self, reference: &Reference) -> Vec<String> {
        match reference {
            Reference::Digest(digest) => vec![digest.clone()],
            Reference::Tag { name, tag } => {
                let each = self.tags.get(&(name.clone(), tag.clone()));
                each.into_iter().flat_map(|it| it.values()).map(|it| it.manifest.clone()).collect()
            }
        }
    }

    /// The tags of a name and tag.
    pub(crate) fn tags_of(&self, name: &str, tag: &str) -> Vec<Tag> {
        let each = self.tags.get(&(name.to_owned(), tag.to_owned()));
        each.into_iter().flat_map(|it| it.values()).cloned().collect()
    }

    /// What a blob is to a booting node, and how long it is.
    pub(crate) fn role_of(&self, digest: &str) -> Option<BootStage> {
        self.manifests.values().find_map(|it| {
            ["kernel", "initrd", "root"]
                .iter()
                .filter_map(|word| it.member(word))
                .find(|(file, _)| file.digest == digest)
                .map(|(_, stage)| stage)
        })
    }

    /// Every file that an image, or all, consist of, with the images that need it.
    pub(crate) fn files(&self, of: Option<&Reference>) -> BTreeMap<String, (File, Vec<String>)> {
        let mut files: BTreeMap<String, (File, Vec<String>)> = BTreeMap::new();
        let wanted = of.map(|it| self.manifests_of(it));
        for (digest, manifest) in &self.manifests {
            if wanted.as_ref().is_some_and(|it| !it.contains(digest)) {
                continue;
            }
            let tags = self.tags.values().flat_map(|it| it.values()).filter(|it| it.manifest == *digest);
            let mut names: Vec<String> = tags.map(|it| format!("{}:{}", it.name, it.tag)).collect();
            if names.is_empty() {
                names.push(format!("sha256:{digest}"));
            }
            for file in manifest.files() {
                let entry = files.entry(file.digest.clone()).or_insert_with(|| (file.clone(), Vec::new()));
                entry.1.extend(names.clone());
            }
        }
        files
    }

    /// Every tag as it is listed.
    pub(crate) fn images(&self) -> Vec<Image> {
        let tags = self.tags.values().flat_map(|it| it.values());
        let image = |tag: &Tag| {
            let manifest = self.manifests.get(&tag.manifest)?;
            Some(Image {
                name: tag.name.clone(),
                tag: tag.tag.clone(),
                architecture: Some(tag.architecture.clone()),
                digest: Some(format!("sha256:{}", tag.manifest)),
                kernel: manifest.kernel.path(),
                initrd: manifest.initrd.path(),
                root: manifest.root.as_ref().map(File::path),
                bytes: manifest.files().map(|it| it.bytes).sum(),
                modified: tag.published.clone(),
                pins: Vec::new(),
            })
        };
        tags.filter_map(image).collect()
    }
}

impl View for Catalog {
    fn apply(&mut self, change: &Change) -> Result<(), serde_json::Error> {
        match (change.kind.as_str(), &change.row) {
            (MANIFEST, Value::Null) => drop(self.manifests.remove(&change.id)),
            (MANIFEST, row) => {
                self.manifests.insert(change.id.clone(), Manifest::deserialize(row)?);
            }
            (TAG, row) => {
                if let Some((name, tag, architecture)) = self.keys.remove(&change.id) {
                    let place = (name, tag);
                    if let Some(each) = self.tags.get_mut(&place) {
                        each.remove(&architecture);
                        if each.is_empty() {
                            self.tags.remove(&place);
                        }
                    }
                }
                if !row.is_null() {
                    let tag = Tag::deserialize(row)?;
                    let key = (tag.name.clone(), tag.tag.clone(), tag.architecture.clone());
                    self.keys.insert(change.id.clone(), key);
                    let each = self.tags.entry((tag.name.clone(), tag.tag.clone())).or_default();
                    each.insert(tag.architecture.clone(), tag);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use domain::feed::{Change, View};
    use serde_json::json;

    use super::{Catalog, File, MANIFEST, Manifest, Reference, TAG, Tag, parse_digest};

    fn put(catalog: &mut Catalog, tag: &str, architecture: &str, kernel: &str) -> String {
        let file = |it: &str| File { digest: it.repeat(64), bytes: 10 };
        let manifest = Manifest {
            architecture: architecture.to_owned(),
            kernel: file(kernel),
            initrd: file("b"),
            root: None,
        };
        let digest = manifest.digest();
        catalog.apply(&Change::put(MANIFEST, &digest, json!(manifest))).unwrap();
        let (name, published) = ("compute".to_owned(), "2026-01-01T00:00:00Z".to_owned());
        let (tag, architecture) = (tag.to_owned(), architecture.to_owned());
        let tag = Tag { name, tag, architecture, manifest: digest.clone(), published };
        catalog.apply(&Change::put(TAG, tag.key(), json!(tag))).unwrap();
        digest
    }

    #[test]
    fn a_reference_is_read() {
        let tag = |name: &str, tag: &str| Some(Reference::Tag { name: name.into(), tag: tag.into() });
        assert_eq!(Reference::parse("openchami/rocky:9.5"), tag("openchami/rocky", "9.5"));
        assert_eq!(Reference::parse("compute"), tag("compute", "latest"));
        let digest = "A".repeat(64);
        assert_eq!(Reference::parse(&format!("sha256:{digest}")), Some(Reference::Digest("a".repeat(64))));
        for bad in ["", ":", "a:", "../a:b", "a//b", "a:b:c", "a b", "/a", "a/", ".store:a", "a:\u{e9}"] {
            assert_eq!(Reference::parse(bad), None, "{bad:?}");
        }
        assert_eq!(parse_digest("sha256:zz"), None);
    }

    #[test]
    fn a_tag_stands_for_one_image_on_each_architecture() {
        let mut catalog = Catalog::default();
        let reference = Reference::parse("compute:latest").unwrap();
        let arm = put(&mut catalog, "latest", "arm64", "a");
        assert_eq!(catalog.find(&reference, None).unwrap().0, arm, "it is the only one");
        let intel = put(&mut catalog, "latest", "x86_64", "c");
        assert_eq!(catalog.find(&reference, None).unwrap().0, intel);
        assert_eq!(catalog.find(&reference, Some("arm64")).unwrap().0, arm);
        assert!(catalog.find(&reference, Some("riscv64")).is_none());
        let newer = put(&mut catalog, "latest", "x86_64", "d");
        assert_eq!(catalog.find(&reference, None).unwrap().0, newer);
        let old = Reference::Digest(intel.clone());
        assert_eq!(catalog.find(&old, None).unwrap().0, intel, "by its digest it is there still");
        assert!(catalog.find(&old, Some("arm64")).is_none());
        assert_eq!(catalog.images().len(), 2);
        assert_eq!(catalog.files(Some(&reference)).len(), 3);
        catalog.apply(&Change::delete(TAG, "compute:latest@x86_64")).unwrap();
        assert_eq!(catalog.find(&reference, None).unwrap().0, arm);
        catalog.apply(&Change::delete(TAG, "compute:latest@arm64")).unwrap();
        assert!(catalog.find(&reference, None).is_none() && catalog.images().is_empty());
        catalog.apply(&Change::delete(MANIFEST, &intel)).unwrap();
        assert!(catalog.find(&old, None).is_none());
    }
}
