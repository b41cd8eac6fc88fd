//! What it means to boot an image of this head: paths on its port 8080, and the words of a live root.

use super::{Architecture, Edit, Variant};

/// What dracut needs beside `root=live:` for a root in memory (dracut.cmdline(7), "livenet").
const LIVE: [&str; 4] = ["rd.live.image", "rd.live.overlay.overlayfs=1", "ip=dhcp", "rd.neednet=1"];
/// The beginnings of words that name a root, or belong to one that is no longer it.
const ROOTS: [&str; 4] = ["root=", "rootfstype=", "nfsroot=", "rd.live.image"];

/// The files of an image for machines of one architecture, as paths on the head's port 8080.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Files {
    pub(crate) kernel: String,
    pub(crate) initrd: String,
    pub(crate) root: Option<String>,
}

impl Files {
    /// Those of a tag, whatever image it names when they are asked for.
    fn of_tag(reference: &str) -> Option<Self> {
        let (name, tag) = reference.rsplit_once(':')?;
        let word = |it: &str| {
            !it.is_empty() && it.bytes().all(|it| it.is_ascii_alphanumeric() || b"-._".contains(&it))
        };
        let fits =
            word(tag) && name.split('/').all(|it| word(it) && it != "." && it != "..") && name != "sha256";
        let path = |member: &str| format!("/images/{name}/{tag}/{member}");
        fits.then(|| Self { kernel: path("kernel"), initrd: path("initrd"), root: Some(path("root")) })
    }

    fn variant(&self, params: &str) -> Variant {
        let params = with_root(params, self.root.as_deref());
        Variant { kernel: self.kernel.clone(), initrd: self.initrd.clone(), params: Some(params) }
    }
}

impl Edit {
    /// Boots an image by its tag, as the document names it.
    pub(crate) fn of_tag(reference: &str, params: &str) -> Option<Self> {
        let files = [(None, Files::of_tag(reference)?)];
        Self::of_files(reference.to_owned(), files, params)
    }

    /// Boots these files: those of the first are the entry's, those of other architectures stand beside it. None if
    /// there are none at all.
    pub(crate) fn of_files(
        reference: String,
        files: impl IntoIterator<Item = (Option<Architecture>, Files)>,
        params: &str,
    ) -> Option<Self> {
        let mut files = files.into_iter();
        let (_, first) = files.next()?;
        let more = files.filter_map(|(arch, it)| Some((arch?, Some(it.variant(params)))));
        Some(Self {
            architectures: more.collect(),
            params: Some(with_root(params, first.root.as_deref())),
            kernel: Some(first.kernel),
            initrd: Some(first.initrd),
            image: Some(reference),
        })
    }
}

/// The command line with this root in the place of the one that it names. Without one it is left alone: the whole
/// system is in the initrd then, or somewhere that the writer knows of.
fn with_root(params: &str, root: Option<&str>) -> String {
    let Some(root) = root else { return params.to_owned() };
    let kept: Vec<&str> = params
        .split(' ')
        .filter(|it| !it.is_empty() && !ROOTS.iter().any(|root| it.starts_with(root)))
        .collect();
    let key = |it: &str| it.split_once('=').map_or(it.len(), |(key, _)| key.len() + 1);
    let missing = LIVE.into_iter().filter(|it| !kept.iter().any(|word| word.starts_with(&it[..key(it)])));
    let mut line = format!("root=live:{root}");
    for word in missing.chain(kept.iter().copied()) {
        line.push(' ');
        line.push_str(word);
    }
    line
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::{Architecture, Edit, Files, with_root};

    #[test]
    fn a_root_takes_the_place_of_another() {
        let live = "root=live:/r rd.live.image rd.live.overlay.overlayfs=1";
        assert_eq!(with_root("", Some("/r")), format!("{live} ip=dhcp rd.neednet=1"));
        let nfs = "root=nfs:h:/x ip=eth0:dhcp console=ttyS0 rd.neednet=1 quiet";
        assert_eq!(
            with_root(nfs, Some("/r")),
            format!("{live} ip=eth0:dhcp console=ttyS0 rd.neednet=1 quiet")
        );
        assert_eq!(with_root("root=/dev/sda1  quiet", None), "root=/dev/sda1  quiet");
    }

    #[test]
    fn a_tag_is_a_path_and_nothing_else() {
        let edit = Edit::of_tag("openchami/rocky:test", "quiet").unwrap();
        assert_eq!(edit.kernel.as_deref(), Some("/images/openchami/rocky/test/kernel"));
        for bad in ["", "a", ":a", "a:", "../a:b", "a b:c", "sha256:00", "a//b:c", "a:b/c"] {
            assert!(Edit::of_tag(bad, "").is_none(), "{bad}");
        }
        let files = |it: &str| Files { kernel: format!("/{it}/k"), initrd: format!("/{it}/i"), root: None };
        let both = [(None, files("amd")), (Some(Architecture::Arm64), files("arm"))];
        let edit = Edit::of_files("a:b".into(), both, "quiet").unwrap();
        let settings = edit.apply(None).unwrap().unwrap();
        assert_eq!(settings.image(Some(Architecture::Arm64)).kernel, "/arm/k");
        assert_eq!((settings.image(None).kernel, settings.params()), ("/amd/k", "quiet"));
    }
}
