//! One boot of one machine.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use domain::BootStage;

use super::dhcp::Asker;
use super::http::{Answer, Caller};
use super::link::Lease;
use super::script::{Order, Script};
use super::{Faults, Firmware, Node, Outcome, Target, tftp};

/// So often cloud-init asks for a part of its data, a second apart.
const ASKS: u32 = 11;
/// What a machine says of itself that has nothing more to say.
const SILENT: &str = "it is silent";

impl Outcome {
    /// Notes a stage.
    pub(super) fn reach(&mut self, stage: BootStage) {
        self.steps.push((stage, Instant::now()));
    }

    /// Whether it has nothing more to say.
    pub(super) fn is_silent(&self, faults: &Faults) -> bool {
        faults.silent_after.is_some_and(|it| self.at(it).is_some())
    }
}

/// A machine on its way.
struct Boot<'a> {
    target: &'a Target,
    faults: &'a Faults,
    log: Outcome,
    failures: u32,
}

/// What a boot script has loaded.
#[derive(Default)]
struct Loaded {
    parameters: Option<String>,
}

pub(super) async fn run(node: Node, target: &Target, faults: &Faults) -> Outcome {
    let mut boot = Boot { target, faults, log: Outcome::new(node), failures: 0 };
    let limit = target.patience.boot;
    let ended = tokio::time::timeout(limit, boot.whole()).await;
    boot.log.error = match ended {
        Ok(ended) => ended.err(),
        Err(_) => {
            let last = boot.log.complaint.as_deref().unwrap_or("nothing answered");
            Some(format!("not up within {limit:?}: {last}"))
        }
    };
    boot.log
}

impl Boot<'_> {
    /// From power-on, and again when something goes wrong, as firmware does.
    async fn whole(&mut self) -> Result<(), String> {
        loop {
            let Err(error) = self.once().await else { return Ok(()) };
            if self.log.is_silent(self.faults) {
                return Err(error);
            }
            self.fail(error)?;
        }
    }

    /// Notes what went wrong.
    ///
    /// # Errors
    ///
    /// The same, if that was once too often.
    fn fail(&mut self, error: String) -> Result<(), String> {
        self.failures += 1;
        self.log.complaint = Some(error.clone());
        if self.failures >= self.target.patience.failures { Err(error) } else { Ok(()) }
    }

    fn reach(&mut self, stage: BootStage) -> Result<(), String> {
        self.log.reach(stage);
        if self.log.is_silent(self.faults) { Err(SILENT.to_owned()) } else { Ok(()) }
    }

    async fn acquire(&mut self, asker: Asker) -> Result<Lease, String> {
        let target = self.target;
        let lease = target.link.acquire(asker, &target.patience, self.faults, &mut self.log).await?;
        if self.log.is_silent(self.faults) { Err(SILENT.to_owned()) } else { Ok(lease) }
    }

    fn caller(&self, lease: &Lease) -> Caller {
        let names = Some(lease.next).filter(|_| !self.faults.without_dns);
        Caller { source: lease.address, wait: self.target.patience.http, names }
    }

    async fn wait(&mut self, time: Duration) {
        let time = time / self.target.patience.hurry.max(1);
        self.log.waited += time;
        tokio::time::sleep(time).await;
    }

    async fn once(&mut self) -> Result<(), String> {
        let firmware = self.log.node.firmware;
        if self.faults.from_disk {
            self.acquire(Asker::System).await?;
            return Err("it booted from its disk".to_owned());
        }
        if firmware != Firmware::Ipxe {
            let lease = self.acquire(Asker::Firmware(firmware)).await?;
            self.load_loader(&lease).await?;
            if self.faults.loader_refused {
                return Err("it cannot run its loader".to_owned());
            }
        }
        let lease = self.acquire(Asker::Ipxe(firmware)).await?;
        let url = lease.file.clone().ok_or("iPXE is told no script")?;
        let answer = self.caller(&lease).get(&url, None).await?;
        let script = self.script(answer, &url)?;
        self.reach(BootStage::Script)?;
        let parameters = self.follow(script, lease).await?;
        self.start_system(&parameters).await
    }

    async fn load_loader(&mut self, lease: &Lease) -> Result<(), String> {
        let file = lease.file.clone().ok_or("it is told no boot file")?;
        if file.starts_with("http://") {
            return ok(self.caller(lease).get(&file, None).await?, &file).map(drop);
        }
        if self.faults.tftp_dropped {
            for _ in 0..4 {
                self.wait(self.target.patience.tftp).await;
            }
            return Err("the TFTP server does not answer".to_owned());
        }
        self.reach(BootStage::TftpStart)?;
        let server = SocketAddr::new(lease.next.into(), self.target.tftp_port);
        let wait = self.target.patience.tftp;
        tftp::fetch(lease.address, server, &file, wait, &mut self.log).await?;
        self.reach(BootStage::TftpEnd)
    }

    fn script(&self, answer: Answer, url: &str) -> Result<Script, String> {
        let Node { mac, firmware } = self.log.node;
        let variables = [
            ("mac", mac.to_string()),
            ("mac:hexhyp", mac.to_string().replace(':', "-")),
            ("buildarch", firmware.build().to_owned()),
            ("platform", if firmware == Firmware::Bios { "pcbios" } else { "efi" }.to_owned()),
            ("ip", self.log.address.map(|it| it.to_string()).unwrap_or_default()),
        ];
        Script::parse(&ok(answer, url)?.text, &variables).map_err(|it| format!("{url}: {it}"))
    }

    /// Does what a script says until it boots; the kernel's parameters.
    async fn follow(&mut self, mut script: Script, mut lease: Lease) -> Result<String, String> {
        let mut loaded = Loaded::default();
        loop {
            let order = script.next()?;
            let did = match order {
                Order::Exit => return Err("the script ended".to_owned()),
                Order::Boot => match loaded.parameters.take() {
                    Some(parameters) => return Ok(parameters),
                    None => Err("there is no kernel to boot".to_owned()),
                },
                Order::Sleep(time) => {
                    self.wait(time).await;
                    Ok(())
                }
                Order::Dhcp => {
                    lease = self.acquire(Asker::Ipxe(self.log.node.firmware)).await?;
                    Ok(())
                }
                Order::Chain { url } => match self.caller(&lease).get(&url, None).await {
                    Ok(answer) => match self.script(answer, &url) {
                        Ok(next) => {
                            script = next;
                            self.reach(BootStage::Script)?;
                            continue;
                        }
                        Err(error) => Err(error),
                    },
                    Err(error) => Err(error),
                },
                Order::Kernel { url, parameters } => {
                    let loading = self.load(&lease, &url, None, Some(BootStage::Kernel)).await;
                    loading.map(|()| loaded.parameters = Some(parameters))
                }
                Order::Initrd { url } => {
                    // The node's own key is loaded before it by the same command.
                    let stage = Some(BootStage::Initrd).filter(|_| !url.contains("/join/"));
                    let cut = self.faults.initrd_cut_after.filter(|_| stage.is_some());
                    self.load(&lease, &url, cut, stage).await
                }
            };
            if self.log.is_silent(self.faults) {
                return Err(SILENT.to_owned());
            }
            let well = did.is_ok();
            if let Err(error) = did {
                self.fail(error)?;
            }
            script.done(well)?;
        }
    }

    async fn load(
        &mut self,
        lease: &Lease,
        url: &str,
        cut: Option<u64>,
        stage: Option<BootStage>,
    ) -> Result<(), String> {
        self.log.bytes += ok(self.caller(lease).get(url, cut).await?, url)?.bytes;
        stage.map_or(Ok(()), |it| self.reach(it))
    }

    async fn start_system(&mut self, parameters: &str) -> Result<(), String> {
        let lease = self.acquire(Asker::System).await?;
        let word = |keys: &[&str]| {
            let found = |word: &str| keys.iter().find_map(|it| word.strip_prefix(it)).map(str::to_owned);
            parameters.split_whitespace().find_map(found)
        };
        if let Some(url) = word(&["root=live:", "root="]).filter(|it| self.target.root && it.contains("://"))
        {
            self.load(&lease, &url, None, Some(BootStage::Root)).await?;
        }
        match word(&["ds=nocloud-net;s=", "ds=nocloud;s="]) {
            Some(seed) => self.configure(&lease, &seed).await,
            None => Ok(()),
        }
    }

    /// cloud-init's order (DataSourceNoCloud): network-config, then the rest, and at the end its word home.
    async fn configure(&mut self, lease: &Lease, seed: &str) -> Result<(), String> {
        let seed = if seed.contains("://") { seed.to_owned() } else { format!("http://{seed}") };
        let url = |name: &str| format!("{}/{name}", seed.trim_end_matches('/'));
        // Without one it goes on, after eleven seconds.
        let network = url(self.faults.network_config.unwrap_or("network-config"));
        if let Err(error) = self.ask(lease, &network).await {
            self.log.complaint = Some(error);
        }
        self.ask(lease, &url("meta-data")).await?;
        self.reach(BootStage::Metadata)?;
        self.ask(lease, &url("user-data")).await?;
        self.reach(BootStage::Userdata)?;
        self.ask(lease, &url("vendor-data")).await?;
        let form = format!("instance_id={0}&hostname={0}&fqdn={0}", lease.address);
        let home = url(&format!("phone-home/{}", lease.address));
        ok(self.caller(lease).post(&home, &form).await?, &home)?;
        self.reach(BootStage::PhoneHome)
    }

    async fn ask(&mut self, lease: &Lease, url: &str) -> Result<(), String> {
        let mut last = String::new();
        for attempt in 0..ASKS {
            if attempt > 0 {
                self.log.again += 1;
                self.wait(Duration::from_secs(1)).await;
            }
            match self.caller(lease).get(url, None).await.and_then(|it| ok(it, url)) {
                Ok(_) => return Ok(()),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

fn ok(answer: Answer, url: &str) -> Result<Answer, String> {
    if answer.status == 200 { Ok(answer) } else { Err(format!("{url}: status {}", answer.status)) }
}
