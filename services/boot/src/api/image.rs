//! What boot asks images for: which files an image has, and that they stay.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use images::client::{Image, list, pin, resolve, unpin};
use web::Client;

use super::Boot;
use crate::error::Error;
use crate::model::{Architecture, Edit, Files, Parameters, Selected, Settings};

/// Who pins.
const PINNER: &str = "boot";

/// What a reference stands for now.
#[derive(Clone, Debug)]
pub(super) struct Resolved {
    /// With the digests, `compute:latest@sha256:…`.
    reference: String,
    digests: Vec<String>,
    files: Vec<(Option<Architecture>, Files)>,
}

impl Resolved {
    /// What changes for a target whose command line is this.
    pub(super) fn edit(&self, params: &str) -> Edit {
        Edit::of_files(self.reference.clone(), self.files.iter().cloned(), params).unwrap_or_default()
    }

    /// What a target boots from now on, whose parameters are kept where none are named.
    pub(super) fn settings(
        &self,
        params: Option<&str>,
        old: Option<&Settings>,
    ) -> Option<Result<Settings, crate::model::SettingsError>> {
        self.edit(params.or_else(|| Some(old?.params())).unwrap_or_default()).apply(None)
    }
}

/// The digests that a target's image was resolved to.
fn digests(reference: &str) -> impl Iterator<Item = &str> {
    reference.split_once('@').into_iter().flat_map(|(_, it)| it.split('+'))
}

/// The architectures of an image, x86_64 first if it is one of them; none of a folder, which does not say.
fn architectures(images: &[Image], reference: &str) -> Vec<Option<String>> {
    let named = |it: &&Image| {
        format!("{}:{}", it.name, it.tag) == reference && (it.digest.is_some() || it.architecture.is_some())
    };
    let mut found: BTreeSet<Option<String>> =
        images.iter().filter(named).map(|it| it.architecture.clone()).collect();
    let usual = found.take(&Some("x86_64".to_owned()));
    let all: Vec<_> = usual.into_iter().chain(found).collect();
    if all.is_empty() { vec![None] } else { all }
}

impl Boot {
    fn images(&self) -> Result<&Client, Error> {
        self.images.as_ref().ok_or(Error::NoImages)
    }

    /// What a reference stands for now, on every architecture that it is there for.
    ///
    /// # Errors
    ///
    /// If there is no such image, or images does not answer.
    pub(super) async fn resolve(&self, reference: &str) -> Result<Resolved, Error> {
        let client = self.images()?;
        let known = if reference.starts_with("sha256:") { Vec::new() } else { list(client).await? };
        let (mut files, mut digests) = (Vec::new(), Vec::new());
        for word in architectures(&known, reference) {
            let found = resolve(client, reference, word.as_deref()).await?;
            let architecture = found.architecture.as_deref().and_then(Architecture::parse);
            let path = |it: String| format!("/{}", it.trim_start_matches('/'));
            let (kernel, initrd) = (path(found.kernel.path), path(found.initrd.path));
            files.push((architecture, Files { kernel, initrd, root: found.root.map(|it| path(it.path)) }));
            digests.extend(found.digest);
        }
        let mark = if digests.is_empty() { String::new() } else { format!("@{}", digests.join("+")) };
        Ok(Resolved { reference: format!("{reference}{mark}"), digests, files })
    }

    /// Keeps an image's files where they are, before anything that names them is stored.
    pub(super) async fn pin(&self, image: &Resolved) -> Result<(), Error> {
        for digest in &image.digests {
            pin(self.images()?, PINNER, digest, digest).await?;
        }
        Ok(())
    }

    /// Has pins that nothing needs any more taken away soon.
    pub(super) fn unpin_later(&self) {
        self.pins_changed.store(true, Ordering::Release);
    }

    /// Takes away the pins that nothing needs any more, and sets those that somebody took away.
    pub(super) async fn settle_pins(&self) {
        let Ok(client) = self.images() else { return };
        let live = self.parameters.freshness() == web::mirror::Freshness::Live;
        if !live || !self.pins_changed.swap(false, Ordering::AcqRel) {
            return;
        }
        let _turn = self.images_turn.lock().await;
        if let Err(error) = self.move_pins(client).await {
            tracing::info!("pins of images are looked at again soon: {error}");
            self.unpin_later();
        }
    }

    async fn move_pins(&self, client: &Client) -> Result<(), web::ClientError> {
        #[derive(serde::Deserialize)]
        struct Pin {
            service: String,
            id: String,
        }
        let wanted = self.parameters.read(used_digests);
        let all: Vec<Pin> = client.get("/pins").await?;
        let there: BTreeSet<String> =
            all.into_iter().filter(|it| it.service == PINNER).map(|it| it.id).collect();
        for digest in wanted.difference(&there) {
            pin(client, PINNER, digest, digest).await?;
        }
        for id in there.difference(&wanted) {
            unpin(client, PINNER, id).await?;
        }
        Ok(())
    }
}

fn used_digests(parameters: &Parameters) -> BTreeSet<String> {
    let entries = parameters.entries(Selected::All);
    let settings = entries.iter().map(|(_, it)| *it);
    let once = parameters.all_once().map(|(_, it)| &*it.settings);
    let all = settings.chain(once).flat_map(|it| digests(it.reference()));
    all.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::{architectures, digests};

    #[test]
    fn a_folder_has_no_architecture_and_no_digest() {
        assert_eq!(architectures(&[], "a:b"), [None]);
        assert_eq!(digests("a:b").count(), 0);
        assert_eq!(digests("a:b@sha256:1+sha256:2").collect::<Vec<_>>(), ["sha256:1", "sha256:2"]);
    }
}
