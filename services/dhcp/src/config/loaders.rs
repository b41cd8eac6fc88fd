//! `[dhcp.loaders]`: what a site has its machines load instead of Debian's iPXE, or where Debian has none.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use anyhow::ensure;
use serde::Deserialize;

use crate::model::{LOADERS, boots_by_http};

/// What machines of one architecture load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Loader {
    /// One of Debian's.
    Name(&'static str),
    /// A file on the head, which TFTP serves by the last part of its path.
    File { path: PathBuf, name: String },
    /// A URL.
    Url(String),
    /// A path on the port of images.
    Path(String),
}

/// By client architecture (option 93).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>")]
pub(crate) struct Loaders(BTreeMap<u16, Loader>);

impl TryFrom<BTreeMap<String, String>> for Loaders {
    type Error = String;
    fn try_from(table: BTreeMap<String, String>) -> Result<Self, String> {
        let entry = |(key, value): (String, String)| {
            let architecture: u16 = key.parse().map_err(|_| {
                format!("{key:?} is no architecture; write its number in option 93: 6 for UEFI on 32-bit x86")
            })?;
            Ok((architecture, loader(architecture, &value)?))
        };
        table.into_iter().map(entry).collect::<Result<_, _>>().map(Self)
    }
}

impl Loaders {
    /// What the site says of an architecture.
    pub(crate) fn get(&self, architecture: u16) -> Option<&Loader> {
        self.0.get(&architecture)
    }
}

fn loader(architecture: u16, text: &str) -> Result<Loader, String> {
    if let Some(name) = LOADERS.into_iter().find(|it| *it == text) {
        return Ok(Loader::Name(name));
    }
    let plain = text.bytes().all(|it| it.is_ascii_graphic()) && (2..=120).contains(&text.len());
    match (boots_by_http(architecture), plain) {
        (true, true) if text.starts_with("http://") || text.starts_with("https://") => {
            Ok(Loader::Url(text.to_owned()))
        }
        (true, true) if text.starts_with('/') => Ok(Loader::Path(text.to_owned())),
        (true, _) => Err(format!(
            "dhcp.loaders.{architecture}: {text:?} is no loader of machines that boot by HTTP; write a URL, or a path \
             of a file below /data/domain-images, /loaders/shim.efi"
        )),
        (false, true) if text.starts_with('/') => {
            let path = PathBuf::from(text);
            let name = file_name(&path).ok_or_else(|| format!("{text:?} names no file"))?;
            Ok(Loader::File { path, name })
        }
        (false, _) => Err(format!(
            "dhcp.loaders.{architecture}: {text:?} is no loader; write the full path of a file, or one of {}",
            LOADERS.join(", ")
        )),
    }
}

fn file_name(path: &Path) -> Option<String> {
    path.file_name().and_then(|it| it.to_str()).map(str::to_owned)
}

/// The site's own files by the names that TFTP serves them under; they go before Debian's.
///
/// # Errors
///
/// Two files of one name, or one of the name of what dhcp makes itself.
pub(super) fn served(loaders: &Loaders, files: &[PathBuf]) -> anyhow::Result<HashMap<String, PathBuf>> {
    let mut served: HashMap<String, PathBuf> = HashMap::new();
    let own = loaders.0.values().filter_map(|it| match it {
        Loader::File { path, .. } => Some(path),
        _ => None,
    });
    for path in own.chain(files) {
        let shown = path.display();
        ensure!(path.is_absolute(), "dhcp.files: {shown} is no full path; write /srv/loaders/grubx64.efi");
        let name = file_name(path).unwrap_or_default();
        ensure!(!name.is_empty(), "dhcp.files: {shown} names no file");
        ensure!(
            name != "autoexec.ipxe" && name != "default",
            "dhcp.files: {name:?} is made by dhcp itself; give {shown} another name"
        );
        if let Some(other) = served.insert(name, path.clone()).filter(|it| it != path) {
            anyhow::bail!("dhcp.files: {} and {shown} have one name; rename one", other.display());
        }
    }
    Ok(served)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::path::PathBuf;

    use super::{Loader, Loaders, served};

    fn read(text: &str) -> Result<Loaders, String> {
        crate::config::tests::table(&format!("[dhcp.loaders]\n{text}")).map(|it| it.loaders)
    }

    #[test]
    fn a_loader_is_a_file_for_tftp_and_a_place_for_http() {
        let loaders = read(
            "6 = \"/srv/loaders/ipxe-i386.efi\"\n15 = \"/loaders/ipxe-i386.efi\"\n\
             16 = \"https://a.test/shim.efi\"\n7 = \"ipxe.efi\"\n",
        )
        .unwrap();
        let path = PathBuf::from("/srv/loaders/ipxe-i386.efi");
        let name = "ipxe-i386.efi".to_owned();
        assert_eq!(loaders.get(6), Some(&Loader::File { path: path.clone(), name: name.clone() }));
        assert_eq!(loaders.get(15), Some(&Loader::Path("/loaders/ipxe-i386.efi".to_owned())));
        assert_eq!(loaders.get(16), Some(&Loader::Url("https://a.test/shim.efi".to_owned())));
        assert_eq!((loaders.get(7), loaders.get(0)), (Some(&Loader::Name("ipxe.efi")), None));
        let more = [PathBuf::from("/srv/loaders/grubx64.efi")];
        let files = served(&loaders, &more).unwrap();
        assert_eq!((files.len(), files.get(&name)), (2, Some(&path)));
    }

    #[test]
    fn what_cannot_be_right_is_refused_by_name() {
        for (text, words) in [
            ("x86 = \"/a.efi\"", "no architecture"),
            ("6 = \"a.efi\"", "dhcp.loaders.6"),
            ("6 = \"http://a.test/a.efi\"", "dhcp.loaders.6"),
            ("16 = \"a.efi\"", "by HTTP"),
            ("16 = \"/a b\"", "by HTTP"),
            ("6 = \"/\"", "dhcp.loaders.6"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
        let loaders = read("6 = \"/srv/a/shim.efi\"").unwrap();
        for (file, words) in [
            ("/srv/b/shim.efi", "one name"),
            ("/srv/autoexec.ipxe", "dhcp itself"),
            ("shim.efi", "no full path"),
        ] {
            let error = served(&loaders, &[file.into()]).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
