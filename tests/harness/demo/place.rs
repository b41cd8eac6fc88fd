//! Where the head of a demo is, and what is done there as an administrator does it.

use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context as _, bail};
use domain::Service;
use http::Method;
use serde_json::json;

use super::{MARK, POLICY, SECRET};
use crate::appliance::{self, Appliance};
use crate::head::{Events, Head, HeadOptions, Ports};
use crate::net::{self, Net};
use crate::steps::Steps;
use crate::{accounts, bmc, document, lab};

/// Where the head is.
#[derive(Debug)]
pub enum Place {
    /// Its services are processes of the lab.
    Processes(Box<Head>),
    /// It is a virtual machine.
    Machine(Box<Appliance>),
}

impl Place {
    pub(super) async fn processes(
        net: &Net,
        folder: &Path,
        image: &Path,
        settings: &[&str],
        steps: &mut Steps,
    ) -> anyhow::Result<Self> {
        net.add_address(net::HEAD)?;
        // ssh(1), by which join pushes tokens, wants to know who runs it.
        accounts::show(folder)?;
        let images = folder.join("images");
        lab::bind(image, &images.join("compute/latest"))?;
        let options = settings.iter().try_fold(options(&images)?, |it, setting| it.set(setting))?;
        let head = Head::start(options).await?;
        // A name that does not change, for those who enter the lab.
        std::os::unix::fs::symlink(head.folder(), folder.join("head")).context("name the head's folder")?;
        steps.reach("head", "services ready");
        let place = Self::Processes(Box::new(head));
        place.pilotctl(&["bmc", "set", "--user", bmc::USER], bmc::PASSWORD)?;
        Ok(place)
    }

    pub(super) async fn machine(
        net: &Net,
        folder: &Path,
        image: &Path,
        steps: &mut Steps,
    ) -> anyhow::Result<Self> {
        // The lab's own place on the network, from which an administrator works.
        net.add_address("172.16.0.253/24")?;
        let answer = appliance::answer(folder)?
            .replace("[admins.", &format!("{}[join]\n{POLICY}[admins.", appliance::sides()));
        let mut head = Appliance::wire(net, folder, Some(&answer), Some(image))?;
        head.add_sides(net)?;
        head.start()?;
        steps.reach("head", "power on");
        head.wait(steps).await?;
        mount_images(&head)?;
        Ok(Self::Machine(Box::new(head)))
    }

    /// The head's machine.
    ///
    /// # Errors
    ///
    /// If its services are processes.
    pub fn appliance(&self) -> anyhow::Result<&Appliance> {
        match self {
            Self::Machine(head) => Ok(head),
            Self::Processes(_) => bail!("the head is no machine"),
        }
    }

    /// The head's machine, to do something with it.
    ///
    /// # Errors
    ///
    /// If its services are processes.
    pub fn appliance_mut(&mut self) -> anyhow::Result<&mut Appliance> {
        match self {
            Self::Machine(head) => Ok(head),
            Self::Processes(_) => bail!("the head is no machine"),
        }
    }

    /// Boot events.
    ///
    /// # Errors
    ///
    /// If the head is not up.
    pub fn events(&self) -> anyhow::Result<&Events> {
        match self {
            Self::Processes(head) => Ok(head.events()),
            Self::Machine(head) => head.events(),
        }
    }

    /// Runs `pilotctl` on the head as an administrator; what it prints.
    ///
    /// # Errors
    ///
    /// If it fails, with what it says.
    pub fn pilotctl(&self, arguments: &[&str], input: &str) -> anyhow::Result<String> {
        match self {
            Self::Processes(head) => head.pilotctl(arguments, input),
            Self::Machine(head) => {
                let words: Vec<String> = arguments.iter().map(|it| format!("'{it}'")).collect();
                head.run(&format!("pilotctl {}", words.join(" ")), input)
            }
        }
    }

    /// The log of a node's console.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn console_log(&self, name: &str) -> anyhow::Result<String> {
        match self {
            Self::Processes(head) => {
                let path = head.folder().join(format!("state/console/log/console.{name}"));
                std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
            }
            Self::Machine(head) => head.run(&format!("sudo cat /var/log/conman/console.{name}"), ""),
        }
    }

    /// What the head complains of, for the message of a test that fails.
    #[must_use]
    pub fn complaints(&self) -> String {
        match self {
            Self::Processes(head) => head.tails(5),
            Self::Machine(head) => {
                let said = head.run("sudo journalctl --priority=warning --lines=40 --no-pager", "");
                said.unwrap_or_else(|error| format!("{error:#}"))
            }
        }
    }

    /// Ends the head in good order.
    ///
    /// # Errors
    ///
    /// If it does not end in time.
    pub async fn shut_down(self) -> anyhow::Result<()> {
        match self {
            Self::Processes(head) => head.shut_down().await,
            Self::Machine(mut head) => head.kill().await,
        }
    }

    /// Writes a file on every node of a group, and shows it on the console: `compute` by the legacy API, `login` by the
    /// present one. A second file is secret: nodes of `compute` get it when join has pushed them their token.
    pub(super) async fn give_user_data(&self) -> anyhow::Result<()> {
        let mut first = user_data("/etc/pilothouse-demo", &format!("{MARK} compute"));
        let key = self.pilotctl(&["join", "key"], "")?;
        first["ssh_authorized_keys"] = json!([key.trim()]);
        let home = format!("http://{}:8081/phone-home", net::HEAD.trim_end_matches("/24"));
        first["phone_home"] = json!({"url": home, "post": "all", "tries": 3});
        let legacy = json!({"name": "compute", "cloud-init": {
            "userdata": first, "metadata": {"instance-id": "demo-compute"},
        }});
        let secret = json!({"name": "compute", "cloud-init": {
            "userdata": user_data("/etc/munge.key", SECRET), "metadata": {"instance-id": "demo-compute"},
        }});
        // YAML is more than JSON.
        let login = user_data("/etc/pilothouse-demo", &format!("{MARK} login"));
        let content = format!("#cloud-config\n{login}\n");
        let present = json!({"name": "login", "file": {"content": content, "encoding": "plain"}});
        for (path, body) in
            [("/cloud-init/", legacy), ("/cloud-init-secure/", secret), ("/cloud-init/admin/groups", present)]
        {
            match self {
                Self::Processes(head) => {
                    let client = head.client(Service::CloudInit);
                    client.text(Method::POST, path, Some(&body)).await.map(drop).context("cloud-init")?;
                }
                Self::Machine(head) => {
                    let curl = format!(
                        "curl -sS --fail-with-body --unix-socket /run/pilothouse/cloud-init.sock \
                        -H 'content-type: application/json' --data-binary @- http://head{path}"
                    );
                    head.run(&curl, &body.to_string())?;
                }
            }
        }
        Ok(())
    }
}

fn user_data(file: &str, text: &str) -> serde_json::Value {
    json!({
        "disable_root": false,
        "write_files": [{"path": file, "content": format!("{text}\n"), "permissions": "0400"}],
        "runcmd": [["sh", "-c", format!("cat {file} >/dev/console")]],
    })
}

/// Shows a head that is on the compute image on its second disk.
///
/// # Errors
///
/// If it cannot be mounted.
pub fn mount_images(head: &Appliance) -> anyhow::Result<()> {
    let there = "/data/domain-images/compute/latest";
    let mount = format!("sudo mkdir -p {there} && sudo mount -o ro /dev/disk/by-id/virtio-images {there}");
    head.run(&mount, "").map(drop)
}

/// The head on the bridge: real addresses and ports, and a pool for machines that nobody knows yet.
fn options(images: &Path) -> anyhow::Result<HeadOptions> {
    let mut options = HeadOptions {
        address: Ipv4Addr::UNSPECIFIED.into(),
        ports: Ports::REAL,
        document: document::demo(net::BRIDGE, net::HEAD),
        ..HeadOptions::default()
    };
    let planes = options.document.get_mut("network").and_then(|it| it.get_mut("planes"));
    let plane = planes
        .and_then(|it| it.get_mut(0))
        .and_then(toml::Value::as_table_mut)
        .context("the demo's plane")?;
    let subnets = "subnets = [{ cidr = \"172.16.0.0/24\", range = \"172.16.0.200-172.16.0.250\" }]";
    plane.extend(toml::from_str::<toml::Table>(subnets)?);
    document::set(&mut options.document, "join", toml::from_str::<toml::Table>(POLICY)?.into())?;
    document::set(&mut options.document, "images.root", images.display().to_string().into())?;
    Ok(options)
}
