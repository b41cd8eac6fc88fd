//! A bus of our own, a systemd that does what a test says, and the supervisor between them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::process::{Child, Command};
use zbus::object_server::SignalEmitter;
use zbus::{Connection, ObjectPath, OwnedObjectPath, OwnedVariant, fdo, interface};

use crate::bus;

/// Nothing here takes longer, even on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// What a test decides.
#[derive(Debug, Default)]
pub(crate) struct Script {
    /// Calls in their order: `start pilothouse.target`.
    pub(crate) calls: Vec<String>,
    /// How the jobs of a unit end; `done` if not said.
    pub(crate) results: HashMap<String, String>,
    /// Whether polkit says no.
    pub(crate) denied: bool,
    /// How often somebody subscribed.
    pub(crate) subscribed: usize,
    /// Units that systemd calls failed, beside ours.
    pub(crate) failed: Vec<String>,
    /// Whether a time server sets the clock.
    pub(crate) synchronised: bool,
    /// Carries out the units that run our own program, if they are not only to be called.
    pub(crate) ours: Option<crate::ours::Ours>,
    jobs: u32,
}

pub(crate) type Shared = Arc<Mutex<Script>>;

struct Manager {
    script: Shared,
    marker: PathBuf,
}

#[interface(name = "org.freedesktop.systemd1.Manager")]
impl Manager {
    fn subscribe(&self) {
        self.script.lock().unwrap().subscribed += 1;
    }

    fn load_unit(&self, name: String) -> OwnedObjectPath {
        unit_path(&name)
    }

    async fn start_unit(
        &self,
        name: String,
        _mode: String,
        #[zbus(connection)] bus: &Connection,
    ) -> fdo::Result<OwnedObjectPath> {
        self.job("start", name, bus).await
    }

    async fn stop_unit(
        &self,
        name: String,
        _mode: String,
        #[zbus(connection)] bus: &Connection,
    ) -> fdo::Result<OwnedObjectPath> {
        self.job("stop", name, bus).await
    }

    async fn restart_unit(
        &self,
        name: String,
        _mode: String,
        #[zbus(connection)] bus: &Connection,
    ) -> fdo::Result<OwnedObjectPath> {
        self.job("restart", name, bus).await
    }

    /// Name, description, load, active and sub state, followed unit, path, job.
    fn list_units_filtered(&self, states: Vec<String>) -> Vec<Listed> {
        assert_eq!(states, ["failed"]);
        let failed = self.script.lock().unwrap().failed.clone();
        let none = OwnedObjectPath::try_from("/").unwrap();
        let word = str::to_owned;
        let list = failed.into_iter().map(|name| {
            let path = unit_path(&name);
            let words = (word(""), word("loaded"), word("failed"), word("failed"), word(""));
            (name, words.0, words.1, words.2, words.3, words.4, path, 0, word(""), none.clone())
        });
        list.collect()
    }

    fn reset_failed_unit(&self, name: String) {
        self.script.lock().unwrap().failed.retain(|it| *it != name);
    }

    #[zbus(signal)]
    async fn job_removed(
        emitter: &SignalEmitter<'_>,
        id: u32,
        job: ObjectPath<'_>,
        unit: &str,
        result: &str,
    ) -> zbus::Result<()>;

    #[zbus(signal)]
    async fn reloading(emitter: &SignalEmitter<'_>, active: bool) -> zbus::Result<()>;
}

impl Manager {
    async fn job(&self, verb: &str, unit: String, bus: &Connection) -> fdo::Result<OwnedObjectPath> {
        let (id, mut result, ours) = {
            let mut script = self.script.lock().unwrap();
            script.calls.push(format!("{verb} {unit}"));
            script.jobs += 1;
            let result = script.results.get(&unit).cloned().unwrap_or_else(|| "done".to_owned());
            (script.jobs, result, script.ours.clone())
        };
        if let Some(ours) = &ours {
            ours.before_job()?;
            if result == "done" {
                result = ours.run(&unit).await;
            }
        }
        let path = OwnedObjectPath::try_from(format!("/org/freedesktop/systemd1/job/{id}")).unwrap();
        if result == "done" {
            if unit == "pilothouse-setup-complete.service" {
                std::fs::write(&self.marker, "").unwrap();
            }
            let (active, sub) = if verb == "stop" { ("inactive", "dead") } else { ("active", "running") };
            for name in if unit == "pilothouse.target" { names() } else { vec![unit.clone()] } {
                if names().contains(&name) {
                    set_state(bus, &name, active, sub, 0).await;
                }
            }
        }
        if let Some(ours) = &ours {
            ours.after_job();
        }
        // The end may be announced before the caller knows the job's path.
        let emitter = SignalEmitter::new(bus, "/org/freedesktop/systemd1").unwrap();
        Self::job_removed(&emitter, id, path.as_ref(), &unit, &result).await.unwrap();
        Ok(path)
    }
}

struct Unit {
    active: String,
    sub: String,
    since: u64,
}

#[interface(name = "org.freedesktop.systemd1.Unit")]
impl Unit {
    #[zbus(property)]
    fn active_state(&self) -> &str {
        &self.active
    }
    #[zbus(property)]
    fn sub_state(&self) -> &str {
        &self.sub
    }
    #[zbus(property)]
    fn state_change_timestamp(&self) -> u64 {
        self.since
    }
}

struct Service {
    restarts: u32,
}

#[interface(name = "org.freedesktop.systemd1.Service")]
impl Service {
    #[zbus(property, name = "NRestarts")]
    fn restarts(&self) -> u32 {
        self.restarts
    }
}

struct TimeDate {
    script: Shared,
}

#[interface(name = "org.freedesktop.timedate1")]
impl TimeDate {
    #[zbus(property, name = "NTPSynchronized")]
    fn synchronised(&self) -> bool {
        self.script.lock().unwrap().synchronised
    }
}

struct Polkit {
    script: Shared,
}

#[interface(name = "org.freedesktop.PolicyKit1.Authority")]
impl Polkit {
    fn check_authorization(
        &self,
        subject: (String, HashMap<String, OwnedVariant>),
        action_id: String,
        details: HashMap<String, String>,
        _flags: u32,
        _cancellation_id: String,
    ) -> (bool, bool, HashMap<String, String>) {
        assert_eq!(subject.0, "system-bus-name");
        let mut script = self.script.lock().unwrap();
        let mut details: Vec<_> = details.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
        details.sort();
        script.calls.push(format!("polkit {action_id} {}", details.join(" ")).trim_end().to_owned());
        (!script.denied, false, HashMap::new())
    }
}

/// A line of ListUnits.
type Listed = (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);

fn names() -> Vec<String> {
    let services = domain::Service::ALL.into_iter().map(|it| it.unit());
    services.chain(["pilothouse-postgres.service".to_owned()]).collect()
}

fn unit_path(name: &str) -> OwnedObjectPath {
    let label = zbus_systemd::bus_label_escape(name);
    OwnedObjectPath::try_from(format!("/org/freedesktop/systemd1/unit/{label}")).unwrap()
}

/// Changes a unit as systemd would, with the signal.
pub(crate) async fn set_state(bus: &Connection, unit: &str, active: &str, sub: &str, restarts: u32) {
    let path = unit_path(unit);
    let service = bus.object_server().interface::<_, Service>(&path).await.unwrap();
    service.get_mut().await.restarts = restarts;
    let object = bus.object_server().interface::<_, Unit>(&path).await.unwrap();
    {
        let mut unit = object.get_mut().await;
        unit.active = active.to_owned();
        unit.sub = sub.to_owned();
        unit.since += 1;
    }
    object.get().await.active_state_changed(object.signal_emitter()).await.unwrap();
}

/// systemd says that it reloads, and that it has.
pub(crate) async fn reload(bus: &Connection) {
    let emitter = SignalEmitter::new(bus, "/org/freedesktop/systemd1").unwrap();
    Manager::reloading(&emitter, true).await.unwrap();
    Manager::reloading(&emitter, false).await.unwrap();
}

/// A bus with a systemd; what runs ends with it.
pub(crate) struct Lab {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) address: String,
    /// The connection of the fake systemd.
    pub(crate) systemd: Connection,
    /// A caller's.
    pub(crate) caller: Connection,
    pub(crate) script: Shared,
    bus: Child,
}

/// The fake systemd's connection, and a caller's.
async fn connect(folder: &tempfile::TempDir, address: &str, script: &Shared) -> (Connection, Connection) {
    let connect = || zbus::connection::Builder::address(address);
    let manager = Manager { script: script.clone(), marker: folder.path().join("setup-complete") };
    let mut builder = connect().serve_at("/org/freedesktop/systemd1", manager);
    for name in names().into_iter().chain(["chrony.service".to_owned()]) {
        let unit = Unit { active: "inactive".to_owned(), sub: "dead".to_owned(), since: 0 };
        builder =
            builder.serve_at(unit_path(&name), unit).serve_at(unit_path(&name), Service { restarts: 0 });
    }
    let polkit = Polkit { script: script.clone() };
    let builder = builder
        .serve_at("/org/freedesktop/PolicyKit1/Authority", polkit)
        .serve_at("/org/freedesktop/timedate1", TimeDate { script: script.clone() })
        .name("org.freedesktop.timedate1")
        .name("org.freedesktop.systemd1")
        .name("org.freedesktop.PolicyKit1");
    let systemd = builder.build().await.unwrap();
    let caller = connect().build().await.unwrap();
    (systemd, caller)
}

impl Lab {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["config", "run", "sockets"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let script = Shared::default();
        let (bus, address) = bus::start(&folder).await;
        let (systemd, caller) = connect(&folder, &address, &script).await;
        Self { folder, address, systemd, caller, script, bus }
    }

    /// The bus is started anew, and its systemd is there again.
    pub(crate) async fn restart_bus(&mut self) {
        self.bus.kill().await.unwrap();
        std::fs::remove_file(self.folder.path().join("bus")).unwrap();
        (self.bus, self.address) = bus::start(&self.folder).await;
        (self.systemd, self.caller) = connect(&self.folder, &self.address, &self.script).await;
    }

    /// Starts the real program and waits until it owns its name.
    pub(crate) async fn supervisor(&self, pilothouse: &str) -> Child {
        self.supervisor_with(pilothouse, &[]).await
    }

    /// The same with more options. The disks of this machine are not looked at: they may be full.
    pub(crate) async fn supervisor_with(&self, pilothouse: &str, options: &[&str]) -> Child {
        let disks: &[&str] = if options.contains(&"--disks") { &[] } else { &["--disks", "/no disk"] };
        let dbus = fdo::DBusProxy::new(&self.caller).await.unwrap();
        let mut owner = dbus.receive_name_owner_changed().await.unwrap();
        let at = |name: &str| self.folder.path().join(name);
        let child = Command::new(env!("CARGO_BIN_EXE_pilothouse-supervisor"))
            .env("DBUS_SYSTEM_BUS_ADDRESS", &self.address)
            .arg("--state")
            .arg(at("config"))
            .arg("--run")
            .arg(at("run"))
            .arg("--sockets")
            .arg(at("sockets"))
            .arg("--marker")
            .arg(at("setup-complete"))
            .arg("--root")
            .arg(at("root"))
            .args(["--pilothouse", pilothouse])
            .args(disks)
            .args(options)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let owned = async {
            use futures_util::StreamExt as _;
            while let Some(signal) = owner.next().await {
                let args = signal.args().unwrap();
                if args.name().as_str() == "org.pilothouse.Supervisor1" && args.new_owner().is_some() {
                    return;
                }
            }
        };
        tokio::time::timeout(LIMIT, owned).await.unwrap();
        child
    }

    /// What was called so far, apart from polkit.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.script.lock().unwrap().calls.clone()
    }

    /// Calls a method of a service's object.
    pub(crate) async fn call(&self, name: &str, method: &str) -> zbus::Result<()> {
        let path = format!("/org/pilothouse/Supervisor1/service/{name}");
        let interface = "org.pilothouse.Supervisor1.Service";
        let call = self.caller.call_method(
            Some("org.pilothouse.Supervisor1"),
            path.as_str(),
            Some(interface),
            method,
            &(),
        );
        tokio::time::timeout(LIMIT, call).await.unwrap().map(|_| ())
    }

    /// A proxy without a cache.
    pub(crate) async fn object(&self, path: &str, interface: &str) -> zbus::Proxy<'static> {
        zbus::proxy::Builder::new(&self.caller)
            .destination("org.pilothouse.Supervisor1")
            .path(format!("/org/pilothouse/Supervisor1{path}"))
            .interface(interface.to_owned())
            .cache_properties(zbus::proxy::CacheProperties::No)
            .build()
            .await
            .unwrap()
    }

    /// Waits until a property has a value; it looks at each change that is announced.
    pub(crate) async fn wait_for(&self, name: &str, property: &str, value: &str) {
        use futures_util::StreamExt as _;
        let path = format!("/service/{name}");
        let changes = self.object(&path, "org.freedesktop.DBus.Properties").await;
        let mut changes = changes.receive_signal("PropertiesChanged").await.unwrap();
        let object = self.object(&path, "org.pilothouse.Supervisor1.Service").await;
        let seen = async {
            while object.get_property::<String>(property).await.unwrap() != value {
                changes.next().await.unwrap();
            }
        };
        tokio::time::timeout(LIMIT, seen).await.unwrap();
    }
}
