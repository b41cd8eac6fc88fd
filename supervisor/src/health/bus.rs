//! Issues on the bus: an object for each, and `org.pilothouse.Supervisor1.Health` at the root.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::watch;
use zbus::message::Header;
use zbus::object_server::InterfaceRef;
use zbus::{Connection, fdo, interface};

use super::fix::Fixer;
use super::issue::{self, Issue, Severity};
use crate::bus::ROOT;
use crate::polkit;

/// All issues, as everybody reads them.
type Issues = watch::Sender<Arc<Vec<Issue>>>;

/// The whole head's health.
pub(super) struct HealthObject {
    issues: watch::Receiver<Arc<Vec<Issue>>>,
    fixer: Fixer,
}

#[interface(name = "org.pilothouse.Supervisor1.Health", introspection_docs = false)]
impl HealthObject {
    /// Looks at everything now, and returns when the objects say what was seen.
    async fn check(&self) -> fdo::Result<()> {
        self.fixer.check().await.map_err(|error| fdo::Error::Failed(format!("{error:#}")))
    }

    /// The severity of the worst issue; `ok` if there is none.
    #[zbus(property)]
    fn worst(&self) -> &str {
        self.issues.borrow().first().map_or("ok", |it| it.severity.word())
    }

    /// How many issues there are of each severity.
    #[zbus(property)]
    fn counts(&self) -> HashMap<String, u32> {
        let counts = issue::count(&self.issues.borrow());
        let words = Severity::ALL.into_iter().map(|it| it.word().to_owned());
        words.zip(counts.map(|it| u32::try_from(it).unwrap_or(u32::MAX))).collect()
    }
}

/// An issue as others see it.
pub(super) struct IssueObject {
    /// Replaced while a call is under way, which holds the object itself.
    issue: RwLock<Issue>,
    fixer: Fixer,
}

impl IssueObject {
    fn get(&self) -> Issue {
        self.issue.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[interface(name = "org.pilothouse.Supervisor1.Issue", introspection_docs = false)]
impl IssueObject {
    /// The kind, and what it is about.
    #[zbus(property(emits_changed_signal = "const"))]
    fn id(&self) -> String {
        self.get().id
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn kind(&self) -> String {
        self.get().kind
    }

    /// The service that says so, or `supervisor`.
    #[zbus(property)]
    fn source(&self) -> String {
        self.get().source
    }

    /// info, warning, error or critical.
    #[zbus(property)]
    fn severity(&self) -> String {
        self.get().severity.word().to_owned()
    }

    /// RFC 3339.
    #[zbus(property)]
    fn since(&self) -> String {
        self.get().since
    }

    #[zbus(property)]
    fn summary(&self) -> String {
        self.get().summary
    }

    #[zbus(property)]
    fn suggestion(&self) -> String {
        self.get().suggestion
    }

    /// What it is about, as JSON.
    #[zbus(property)]
    fn context(&self) -> String {
        self.get().context.to_string()
    }

    /// The verb of Fix; empty: it has none.
    #[zbus(property)]
    fn fix_verb(&self) -> String {
        self.get().fix.unwrap_or_default()
    }

    /// The journal's event beside it.
    #[zbus(property)]
    fn message_id(&self) -> String {
        self.get().message_id
    }

    /// Does what the verb says, and returns when that is done and everything was looked at again.
    async fn fix(
        &self,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> fdo::Result<()> {
        let issue = self.get();
        let Some(verb) = issue.fix.clone() else {
            return Err(fdo::Error::NotSupported("this issue has no fix; see its suggestion".to_owned()));
        };
        let target = Fixer::target(&issue);
        let details = HashMap::from([("service", target.as_str()), ("verb", verb.as_str())]);
        polkit::require(bus, &header, polkit::MANAGE_SERVICES, &details).await?;
        log::info!("{verb} {target} for {}", header.sender().map_or("", |it| it.as_str()));
        self.fixer.fix(&issue).await.map_err(|error| fdo::Error::Failed(format!("{error:#}")))
    }
}

/// What is on the bus.
pub(super) struct Shown {
    connection: Connection,
    fixer: Fixer,
    issues: Issues,
    /// By their ids.
    objects: BTreeMap<String, Issue>,
}

impl Shown {
    /// Serves the root's interface.
    ///
    /// # Errors
    ///
    /// If the bus does not take the object.
    pub(super) async fn serve(connection: Connection, fixer: Fixer) -> anyhow::Result<Self> {
        let issues = watch::Sender::new(Arc::default());
        let health = HealthObject { issues: issues.subscribe(), fixer: fixer.clone() };
        connection.object_server().at(ROOT, health).await?;
        Ok(Self { connection, fixer, issues, objects: BTreeMap::new() })
    }

    pub(super) fn issues(&self) -> Arc<Vec<Issue>> {
        self.issues.borrow().clone()
    }

    /// These are all from now on.
    ///
    /// # Errors
    ///
    /// If the bus does not take an object.
    pub(super) async fn replace(&mut self, new: Vec<Issue>) -> anyhow::Result<()> {
        let before = self.issues.send_replace(Arc::new(new.clone()));
        self.change_objects(new).await?;
        let root: InterfaceRef<HealthObject> = self.connection.object_server().interface(ROOT).await?;
        let (object, emitter) = (root.get().await, root.signal_emitter());
        let after = self.issues();
        if before.first().map(|it| it.severity) != after.first().map(|it| it.severity) {
            object.worst_changed(emitter).await?;
        }
        if issue::count(&before) != issue::count(&after) {
            object.counts_changed(emitter).await?;
        }
        Ok(())
    }

    async fn change_objects(&mut self, new: Vec<Issue>) -> zbus::Result<()> {
        let server = self.connection.object_server();
        let gone = self.objects.keys().filter(|id| !new.iter().any(|it| it.id == **id));
        for id in gone.cloned().collect::<Vec<_>>() {
            server.remove::<IssueObject, _>(object_path(&id)).await?;
            self.objects.remove(&id);
        }
        for issue in new {
            let path = object_path(&issue.id);
            match self.objects.insert(issue.id.clone(), issue.clone()) {
                Some(before) if before == issue => {}
                Some(before) => {
                    let object: InterfaceRef<IssueObject> = server.interface(path.as_str()).await?;
                    *object.get().await.issue.write().unwrap_or_else(PoisonError::into_inner) = issue.clone();
                    announce(&object, &before, &issue).await?;
                }
                None => {
                    let object = IssueObject { issue: RwLock::new(issue), fixer: self.fixer.clone() };
                    server.at(path.as_str(), object).await?;
                }
            }
        }
        Ok(())
    }
}

async fn announce(object: &InterfaceRef<IssueObject>, before: &Issue, after: &Issue) -> zbus::Result<()> {
    let (shown, emitter) = (object.get().await, object.signal_emitter());
    if before.severity != after.severity {
        shown.severity_changed(emitter).await?;
    }
    if before.summary != after.summary {
        shown.summary_changed(emitter).await?;
    }
    if before.suggestion != after.suggestion {
        shown.suggestion_changed(emitter).await?;
    }
    if before.context != after.context {
        shown.context_changed(emitter).await?;
    }
    if before.fix != after.fix {
        shown.fix_verb_changed(emitter).await?;
    }
    if before.source != after.source {
        shown.source_changed(emitter).await?;
    }
    if before.since != after.since {
        shown.since_changed(emitter).await?;
    }
    Ok(())
}

/// `…/issue/unit_2dfailed_2fpilothouse_2dboot_2eservice`: one of its own for each id.
fn object_path(id: &str) -> String {
    format!("{ROOT}/issue/{}", zbus_systemd::bus_label_escape(id))
}
