//! `pilotctl image`: the images that nodes boot.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use axum::body::Bytes;
use clap::{Subcommand, ValueHint};
use domain::Service;
use images::client::{self, Blob, Image, NewImage, PIECE_MAX, Part, Resolved};
use indicatif::{HumanBytes, ProgressBar};
use serde_json::json;
use web::Client;

use crate::Head;
use crate::error::Failure;
use crate::output::{Format, print, progress};

#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  pilotctl image import compute:9.5 --from build/compute
  pilotctl image import compute:9.5 --arch arm64 --kernel Image --initrd initrd.img --root root.squashfs
  pilotctl image list
  pilotctl image verify
  pilotctl image gc --dry-run

Files below /data/domain-images are served without an import.")]
pub(crate) enum Command {
    /// Upload kernel, initrd and root file system, and publish them under a name
    Import(ImportArguments),
    /// Every image, the newest first
    List,
    /// What a name stands for: files, digests, where nodes fetch them
    Show {
        /// name:tag or sha256:…
        image: String,
        /// On this architecture
        #[arg(long)]
        arch: Option<String>,
    },
    /// Read all files anew, and name those that are damaged
    Verify {
        /// name:tag or sha256:…; none: all
        image: Option<String>,
    },
    /// Take a name away; its files go with the next gc
    Remove {
        /// name:tag
        image: String,
        /// On this architecture alone
        #[arg(long)]
        arch: Option<String>,
    },
    /// Delete files that no image and no pin needs and that are at least an hour old
    Gc {
        /// Only say what would be deleted
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct ImportArguments {
    /// name:tag; the tag is `latest` if it is left out
    image: String,
    /// A folder that holds a kernel (vmlinuz…), an initrd (initrd…, initramfs…) and perhaps a root (root…, *.squashfs)
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, conflicts_with_all = ["kernel", "initrd", "root"])]
    from: Option<PathBuf>,
    /// The kernel
    #[arg(long, value_name = "FILE", required_unless_present = "from", requires = "initrd")]
    kernel: Option<PathBuf>,
    /// The initrd
    #[arg(long, value_name = "FILE", requires = "kernel")]
    initrd: Option<PathBuf>,
    /// The root file system, if it is a file of its own
    #[arg(long, value_name = "FILE", requires = "kernel")]
    root: Option<PathBuf>,
    /// What it runs on: x86_64, arm64, riscv64 or loong64
    #[arg(long, default_value = "x86_64")]
    arch: String,
}

pub(crate) async fn run(head: &Head, command: Command) -> Result<(), Failure> {
    let images = head.client(Service::Images);
    match command {
        Command::Import(arguments) => import(head, &images, &arguments).await,
        Command::List => list(head, &client::list(&images).await?),
        Command::Show { image, arch } => {
            show(head, &client::resolve(&images, &image, arch.as_deref()).await?);
            Ok(())
        }
        Command::Verify { image } => verify(head, &images, image.as_deref()).await,
        Command::Remove { image, arch } => Ok(client::remove(&images, &image, arch.as_deref()).await?),
        Command::Gc { dry_run } => clean_up(head, &images, dry_run).await,
    }
}

fn list(head: &Head, all: &[Image]) -> Result<(), Failure> {
    let row = |it: &Image| {
        let digest = it.digest.as_deref().map_or("folder", |it| it.get(7..19).unwrap_or(it));
        vec![
            format!("{}:{}", it.name, it.tag),
            it.architecture.clone().unwrap_or_default(),
            digest.to_owned(),
            HumanBytes(it.bytes).to_string(),
            it.modified.get(..16).unwrap_or(&it.modified).to_owned(),
            it.pins.join(","),
        ]
    };
    let rows: Vec<_> = all.iter().map(row).collect();
    print(head.format, &json!(all), &["IMAGE", "ARCH", "DIGEST", "SIZE", "PUBLISHED", "PINNED BY"], &rows);
    Ok(())
}

fn show(head: &Head, image: &Resolved) {
    let parts =
        [("kernel", Some(&image.kernel)), ("initrd", Some(&image.initrd)), ("root", image.root.as_ref())];
    let row = |(name, part): (&str, Option<&Part>)| {
        let part = part?;
        let size = HumanBytes(part.bytes).to_string();
        Some(vec![name.to_owned(), size, part.digest.clone().unwrap_or_default(), format!("/{}", part.path)])
    };
    let rows: Vec<_> = parts.into_iter().filter_map(row).collect();
    if head.format == Format::Table
        && let (Some(digest), Some(architecture)) = (&image.digest, &image.architecture)
    {
        println!("{} for {architecture} is {digest}", image.reference);
    }
    print(head.format, &json!(image), &["FILE", "SIZE", "DIGEST", "PATH ON PORT 8080"], &rows);
}

/// The files of an image on this machine.
#[derive(Debug, PartialEq, Eq)]
struct Files {
    kernel: PathBuf,
    initrd: PathBuf,
    root: Option<PathBuf>,
}

impl Files {
    fn of(arguments: &ImportArguments) -> Result<Self, Failure> {
        match (&arguments.from, &arguments.kernel, &arguments.initrd) {
            (Some(folder), ..) => Self::find(folder),
            (None, Some(kernel), Some(initrd)) => {
                Ok(Self { kernel: kernel.clone(), initrd: initrd.clone(), root: arguments.root.clone() })
            }
            _ => Err(Failure::usage("give --from DIR, or --kernel FILE and --initrd FILE")),
        }
    }

    /// The files of a build: of each kind there is to be one, or one that others are links to.
    fn find(folder: &Path) -> Result<Self, Failure> {
        let failed = |it: std::io::Error| Failure::failed(format!("cannot read {}: {it}", folder.display()));
        let mut found = [BTreeSet::new(), BTreeSet::new(), BTreeSet::new()];
        for entry in std::fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let Some(kind) = path.file_name().and_then(|it| kind_of(it.to_str()?)) else { continue };
            if path.is_file() {
                found[kind].insert(path.canonicalize().map_err(failed)?);
            }
        }
        let [kernels, initrds, roots] = found;
        let one = |name: &str, mut files: BTreeSet<PathBuf>| match (files.pop_first(), files.pop_first()) {
            (Some(first), Some(second)) => Err(Failure::usage(format!(
                "{} and {} may both be the {name}; name one by --kernel, --initrd and --root",
                first.display(),
                second.display()
            ))),
            (file, _) => Ok(file),
        };
        let need = |name: &str, file: Option<PathBuf>| {
            file.ok_or_else(|| Failure::usage(format!("{} holds no {name}", folder.display())))
        };
        Ok(Self {
            kernel: need("kernel", one("kernel", kernels)?)?,
            initrd: need("initrd", one("initrd", initrds)?)?,
            root: one("root", roots)?,
        })
    }
}

/// What a file of a build is by its name: 0 the kernel, 1 the initrd, 2 the root.
fn kind_of(name: &str) -> Option<usize> {
    let starts = |words: &[&str]| words.iter().any(|it| name.starts_with(it));
    let ends = |words: &[&str]| words.iter().any(|it| name.ends_with(it));
    if ends(&[".sig", ".sha256", ".manifest", ".txt"]) {
        None
    } else if starts(&["vmlinuz", "vmlinux", "bzImage", "kernel", "Image"]) || ends(&[".vmlinuz"]) {
        Some(0)
    } else if starts(&["initrd", "initramfs"]) || ends(&[".initrd", ".cpio", ".cpio.zst", ".cpio.gz"]) {
        Some(1)
    } else if starts(&["root"]) || ends(&[".squashfs", ".erofs"]) {
        Some(2)
    } else {
        None
    }
}

async fn import(head: &Head, images: &Client, arguments: &ImportArguments) -> Result<(), Failure> {
    let files = Files::of(arguments)?;
    let (name, tag) = arguments.image.rsplit_once(':').unwrap_or((&arguments.image, "latest"));
    let kernel = upload(images, "kernel", &files.kernel).await?;
    let initrd = upload(images, "initrd", &files.initrd).await?;
    let root = match &files.root {
        Some(file) => Some(upload(images, "root", file).await?.digest),
        None => None,
    };
    let image = NewImage {
        name: name.to_owned(),
        tag: tag.to_owned(),
        architecture: arguments.arch.clone(),
        kernel: kernel.digest,
        initrd: initrd.digest,
        root,
    };
    show(head, &client::publish(images, &image).await?);
    Ok(())
}

/// Brings a file to the head, unless it is there; when it cannot, nothing of it stays.
async fn upload(images: &Client, what: &str, path: &Path) -> Result<Blob, Failure> {
    let failed = |it: std::io::Error| Failure::failed(format!("cannot read {}: {it}", path.display()));
    let mut file = File::open(path).map_err(failed)?;
    let bytes = file.metadata().map_err(failed)?.len();
    let bar = progress(format!("{what}: reading {}", path.display()));
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    while let Some(piece) = next_piece(&mut file).map_err(failed)? {
        context.update(&piece);
    }
    let hex: String = context.finish().as_ref().iter().map(|it| format!("{it:02x}")).collect();
    let digest = format!("sha256:{hex}");
    if let Some(blob) = client::find_blob(images, &digest).await? {
        bar.finish_and_clear();
        return Ok(blob);
    }
    let mut upload = client::begin_upload(images).await?;
    let mut send = async || {
        let mut file = File::open(path).map_err(failed)?;
        while let Some(piece) = next_piece(&mut file).map_err(failed)? {
            upload = client::send_piece(images, &upload, piece).await?;
            bar.set_message(format!("{what}: {} of {}", HumanBytes(upload.received), HumanBytes(bytes)));
        }
        Ok::<Blob, Failure>(client::finish_upload(images, &upload, &digest).await?)
    };
    let sent = tokio::select! {
        sent = send() => sent,
        _ = tokio::signal::ctrl_c() => Err(Failure::failed("interrupted; nothing was imported")),
    };
    bar.finish_and_clear();
    if sent.is_err() {
        // The service gives it up by itself if this does not reach it.
        client::cancel_upload(images, &upload).await.ok();
    }
    sent
}

/// The next piece of a file; none at its end.
fn next_piece(file: &mut File) -> std::io::Result<Option<Bytes>> {
    let mut piece = Vec::with_capacity(PIECE_MAX);
    file.take(PIECE_MAX as u64).read_to_end(&mut piece)?;
    Ok((!piece.is_empty()).then(|| piece.into()))
}

async fn verify(head: &Head, images: &Client, image: Option<&str>) -> Result<(), Failure> {
    let bar: ProgressBar = progress("reading");
    let mut files = Vec::new();
    client::verify(images, image, |step| {
        bar.set_message(format!("{} of {}", HumanBytes(step.done), HumanBytes(step.all)));
        if step.sound.is_some() {
            files.push(step);
        }
    })
    .await?;
    bar.finish_and_clear();
    let bad: Vec<_> = files.iter().filter(|it| it.sound != Some(true)).collect();
    match head.format {
        Format::Json => println!("{:#}", json!(files)),
        Format::Table if bad.is_empty() => println!("{} files are sound", files.len()),
        Format::Table => {
            let reason = |it: &&client::Verified| it.reason.clone().unwrap_or_default();
            let rows: Vec<_> =
                bad.iter().map(|it| vec![it.digest.clone(), it.images.join(","), reason(it)]).collect();
            print(head.format, &json!(bad), &["DAMAGED", "IMAGES", "WHY"], &rows);
        }
    }
    if bad.is_empty() {
        return Ok(());
    }
    let text = format!("{} of {} files are damaged; import their images again", bad.len(), files.len());
    Err(Failure::failed(text))
}

async fn clean_up(head: &Head, images: &Client, dry: bool) -> Result<(), Failure> {
    let bar = progress("looking for what nobody needs");
    let cleaned = client::clean_up(images, dry).await;
    bar.finish_and_clear();
    let cleaned = cleaned?;
    if head.format == Format::Json {
        println!("{:#}", json!(cleaned));
        return Ok(());
    }
    let rows: Vec<_> =
        cleaned.blobs.iter().map(|it| vec![it.digest.clone(), HumanBytes(it.bytes).to_string()]).collect();
    if !rows.is_empty() {
        print(head.format, &json!(cleaned), &["FILE", "SIZE"], &rows);
    }
    let verb = if dry { "would be" } else { "are" };
    println!("{} {verb} free again", HumanBytes(cleaned.bytes));
    Ok(())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::{Files, kind_of};

    #[test]
    fn the_files_of_a_build_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().canonicalize().unwrap().join(name);
        for name in ["vmlinuz-6.12", "image.initrd", "root.squashfs", "root.squashfs.sha256", "notes"] {
            std::fs::write(path(name), name).unwrap();
        }
        std::os::unix::fs::symlink("vmlinuz-6.12", path("vmlinuz")).unwrap();
        let files = Files::find(folder.path()).unwrap();
        assert_eq!((files.kernel, files.initrd), (path("vmlinuz-6.12"), path("image.initrd")));
        assert_eq!(files.root, Some(path("root.squashfs")));
        std::fs::write(path("initramfs-6.12.img"), "second").unwrap();
        let refused = Files::find(folder.path()).unwrap_err().message;
        assert!(refused.contains("image.initrd") && refused.contains("initramfs"), "{refused}");
        assert_eq!(kind_of("compute.raw"), None);
    }
}
