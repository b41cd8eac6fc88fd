//! What a head needs so that a fleet boots from it: nodes in its inventory, an image, boot parameters, cloud-init data.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Context as _;
use domain::Service;
use http::Method;
use serde_json::{Value, json};

use super::space;
use crate::head::Head;

/// The image's place among those served.
const IMAGE: &str = "compute/latest";

/// The services that nodes meet on their way.
pub const SERVICES: [Service; 7] = [
    Service::Inventory,
    Service::Boot,
    Service::CloudInit,
    Service::Images,
    Service::Dhcp,
    Service::Ca,
    Service::Gateway,
];

/// Sizes of the image's files, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// The kernel.
    pub kernel: usize,
    /// The initrd.
    pub initrd: usize,
    /// The root file system; none: the nodes have it all in their initrd.
    pub root: Option<usize>,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { kernel: 1 << 20, initrd: 1 << 20, root: None }
    }
}

/// Gives a head the nodes 1 to `count`, whose addresses are told by `address`, and all that they boot. `images` is
/// where nodes find its images, `http://10.20.0.1:8080`.
///
/// # Errors
///
/// What the head refuses.
pub async fn fill(
    head: &Head,
    count: u32,
    address: impl Fn(u32) -> Ipv4Addr,
    images: &str,
    sizes: Sizes,
) -> anyhow::Result<()> {
    write_image(&head.images().join(IMAGE), sizes)?;
    let nodes = space::nodes_yaml(count, address);
    head.pilotctl(&["nodes", "import", "--inventory-only", "-"], &nodes).context("import the nodes")?;
    let boot = head.client(Service::Boot);
    let parameters = boot_parameters(count, images, sizes.root.is_some());
    boot.text(Method::PUT, "/boot/v1/bootparameters", Some(&parameters))
        .await
        .context("set what they boot")?;
    let data = json!({"name": "compute", "cloud-init": {
        "userdata": {"write_files": [{"path": "/etc/fleet", "content": "x".repeat(500)}], "runcmd": ["true"]},
        "metadata": {"instance-id": "fleet"},
    }});
    let cloud_init = head.client(Service::CloudInit);
    cloud_init.text(Method::POST, "/cloud-init/", Some(&data)).await.context("set what they become")?;
    head.settle().await
}

/// One set of parameters for all.
#[must_use]
pub fn boot_parameters(count: u32, images: &str, root: bool) -> Value {
    let place = format!("{images}/{IMAGE}");
    let root = if root { format!("root=live:{place}/root ") } else { String::new() };
    json!({
        "hosts": (1..=count).map(space::xname).collect::<Vec<_>>(),
        "kernel": format!("{place}/kernel"),
        "initrd": format!("{place}/initrd"),
        "params": format!("{root}ip=dhcp console=ttyS0,115200"),
    })
}

fn write_image(folder: &Path, sizes: Sizes) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    for above in folder.ancestors().take(2) {
        fs::set_permissions(above, fs::Permissions::from_mode(0o755))?;
    }
    let files = [("kernel", Some(sizes.kernel)), ("initrd", Some(sizes.initrd)), ("root", sizes.root)];
    for (name, size) in files.into_iter().filter_map(|(name, size)| Some((name, size?))) {
        let path = folder.join(name);
        // Each place differs from its neighbours, so that nothing is compressed or left out on its way.
        let bytes: Vec<u8> = (0..size).map(|it| (it.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        fs::write(&path, bytes).with_context(|| format!("write {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
    }
    Ok(())
}
