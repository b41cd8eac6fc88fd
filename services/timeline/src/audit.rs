//! The audit: what the journal tells of who did what, put into a chain. The cursor is written with the records, so
//! that nothing is taken twice or left out; a file beside the database knows where the chain stands.

use std::io;
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use daemon::{Issue, Retry, Severity};
use prometheus_client::metrics::counter::Counter;
use serde_json::json;
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::Timeline;
use crate::error::Error;
use crate::journal::Journal;
use crate::model::{Anchor, Check, Deed, Mark, Verdict};
use crate::store;
use crate::wire;

/// So many entries are written at once.
const BATCH: usize = 500;
/// How long an entry waits for others at most.
const GATHER: Duration = Duration::from_millis(200);
/// Records of a head at most: some hundred bytes each.
const RECORDS_MAX: i64 = 5_000_000;
/// Records that are looked at at once.
const LOOKED_AT: i64 = 2000;
/// When the chain is first looked at: not while a head has better to do.
const FIRST_LOOK: Duration = Duration::from_secs(600);
/// And how often.
const LOOK_EVERY: Duration = Duration::from_secs(24 * 3600);
/// The file beside the database.
const ANCHOR: &str = "audit.json";

static WRITTEN: LazyLock<Counter> =
    LazyLock::new(|| web::counter("audit_records", "Audit records written since the start"));

/// How long the next try waits, and whether it was said that one is needed.
#[derive(Debug, Default)]
struct Patience {
    retry: Retry,
    told: bool,
}

impl Timeline {
    /// Follows the journal and looks after the chain, until the context's stop.
    pub(crate) async fn keep_audit(&self) {
        let Some(journal) = &self.journal else { return };
        let stop = &self.context.stop;
        if stop.run_until_cancelled(self.database.migrated()).await.is_some() {
            tokio::join!(self.follow_journal(journal), self.look_after_chain(journal));
        }
    }

    async fn follow_journal(&self, journal: &Journal) {
        let stop = &self.context.stop;
        let mut patience = Patience::default();
        while let Some(ended) = stop.run_until_cancelled(self.chain(journal, &mut patience)).await {
            // Without PostgreSQL the journal keeps what there is.
            if let Err(error) = ended
                && !self.database.is_lost()
                && !std::mem::replace(&mut patience.told, true)
            {
                self.tell_behind(&error);
            }
            if stop.run_until_cancelled(patience.retry.wait()).await.is_none() {
                return;
            }
        }
    }

    /// Takes entry after entry, from where the chain stands.
    async fn chain(&self, journal: &Journal, patience: &mut Patience) -> anyhow::Result<()> {
        let mut place = self.resume(journal).await?;
        let mut lines = journal.follow(place.cursor.as_deref()).context("run journalctl")?;
        let (mut deeds, mut cursor, mut seen) = (Vec::new(), None, 0);
        let mut until = None;
        loop {
            let next = match until {
                None => Some(lines.next().await),
                Some(until) => tokio::time::timeout_at(until, lines.next()).await.ok(),
            };
            let line = next.transpose().context("read what journalctl prints")?;
            if let Some(Some(line)) = &line {
                if let Some(entry) = wire::journal::read(line) {
                    cursor = Some(entry.cursor);
                    deeds.extend(entry.deed);
                }
                seen += 1;
                if seen < BATCH && Instant::now() < *until.get_or_insert_with(|| Instant::now() + GATHER) {
                    continue;
                }
            }
            if let Some(cursor) = cursor.take() {
                self.append(journal, &mut place, std::mem::take(&mut deeds), cursor).await?;
                self.context.issues().clear("audit-behind");
                *patience = Patience::default();
            }
            (seen, until) = (0, None);
            if line == Some(None) {
                return Err(lines.end().await).context("follow the journal");
            }
        }
    }

    /// Where the chain goes on, as the database and the file beside it have it.
    async fn resume(&self, journal: &Journal) -> anyhow::Result<store::Chain> {
        let head = journal.head();
        let anchor = self.read_anchor().await?;
        let mut tx = self.database.begin().await?;
        store::insert_chain(&mut *tx, head).await?;
        let mut chain = store::find_chain(&mut *tx, head).await?.context("find the chain")?;
        // Ahead of the file is a crash between the two; behind it records were taken away. Going on from where the
        // file says leaves the gap to be seen.
        if let Some(Anchor { last, .. }) = anchor.clone()
            && (last.id > chain.last.id || (last.id == chain.last.id && last != chain.last))
        {
            daemon::event!(
                domain::event::AUDIT_BROKEN,
                "the audit ends at record {}, and was at record {} ({}) before; see pilotctl audit verify",
                chain.last.id,
                last.id,
                last.hash
            );
            store::update_chain(&mut *tx, head, chain.last, last, chain.cursor.as_deref()).await?;
            chain.last = last;
        }
        tx.commit().await?;
        // A new machine, or one whose disk is new: what the database says is what there is.
        if anchor.is_none() {
            self.move_anchor(|it| *it = Anchor { last: chain.last, pruned: chain.pruned }).await?;
        }
        Ok(chain)
    }

    async fn append(
        &self,
        journal: &Journal,
        place: &mut store::Chain,
        deeds: Vec<Deed>,
        cursor: String,
    ) -> anyhow::Result<()> {
        let (head, mut last) = (journal.head(), place.last);
        let follow = |deed: Deed| {
            let record = deed.follow(head, last);
            last = record.mark();
            record
        };
        let records: Vec<_> = deeds.into_iter().map(follow).collect();
        let mut tx = self.database.begin().await?;
        store::insert_records(&mut *tx, &records).await?;
        let moved = store::update_chain(&mut *tx, head, place.last, last, Some(&cursor)).await?;
        ensure!(moved, "somebody else wrote to the audit of this head");
        tx.commit().await.context("commit records")?;
        place.last = last;
        place.cursor = Some(cursor);
        if !records.is_empty() {
            WRITTEN.inc_by(records.len() as u64);
            self.move_anchor(|it| it.last = last).await?;
        }
        Ok(())
    }

    async fn look_after_chain(&self, journal: &Journal) {
        let stop = &self.context.stop;
        let mut ticks = tokio::time::interval_at(Instant::now() + FIRST_LOOK, LOOK_EVERY);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            if let Err(error) = self.prune_audit(journal.head(), OffsetDateTime::now_utc()).await {
                tracing::warn!("old audit records stay: {error:#}");
            }
            match self.verify_audit().await {
                Ok(verdicts) => verdicts.iter().for_each(|it| self.tell_verdict(it)),
                Err(error) => tracing::warn!("the audit cannot be looked at: {error}"),
            }
        }
    }

    /// Removes what is older than is kept, and what is too much; the chain's rest holds by the last hash of it.
    pub(crate) async fn prune_audit(&self, head: &str, now: OffsetDateTime) -> anyhow::Result<u64> {
        let mut tx = self.database.begin().await?;
        let Some(chain) = store::find_chain(&mut *tx, head).await? else { return Ok(0) };
        let before = now - self.config.audit_keep.0;
        let young = store::find_first_since(&mut *tx, head, before).await?.unwrap_or(chain.last.id);
        // The last one stays in any case.
        let to = (young - 1).max(chain.last.id - RECORDS_MAX).min(chain.last.id - 1);
        let Some(pruned) = store::find_mark(&mut *tx, head, to).await? else { return Ok(0) };
        // Before the removal: what the file does not know of was not removed by us.
        self.move_anchor(|it| it.pruned = pruned).await?;
        store::update_pruned(&mut *tx, head, pruned).await?;
        let removed = store::delete_records_to(&mut *tx, head, to).await?;
        tx.commit().await.context("commit the removal")?;
        tracing::info!("{removed} audit records are older than {} and were removed", self.config.audit_keep);
        Ok(removed)
    }

    /// Looks at every chain from its beginning to its end.
    pub(crate) async fn verify_audit(&self) -> Result<Vec<Verdict>, Error> {
        let own = self.journal.as_ref().map(Journal::head);
        let before = self.read_anchor().await?;
        let mut tx = self.database.begin().await?;
        store::freeze(&mut tx).await?;
        let chains = store::list_chains(&mut *tx).await?;
        // Written before what it tells of is removed, and after what it tells of is there.
        let after = self.read_anchor().await?;
        let anchor =
            before.zip(after).map(|(before, after)| Anchor { last: before.last, pruned: after.pruned });
        let mut verdicts = Vec::new();
        for (head, chain) in chains {
            let anchor = anchor.clone().filter(|_| own == Some(head.as_str()));
            let mut check = Check::new(&head, chain.pruned, anchor);
            let mut at = chain.pruned.id;
            loop {
                let records = store::list_records_after(&mut *tx, &head, at, LOOKED_AT).await?;
                let Some(last) = records.last() else { break };
                at = last.id;
                if !records.iter().all(|it| check.take(it)) {
                    break;
                }
            }
            verdicts.push(check.end(chain.last));
        }
        Ok(verdicts)
    }

    fn tell_verdict(&self, verdict: &Verdict) {
        let Verdict { head, last: Mark { id, hash }, broken, .. } = verdict;
        let issue = format!("audit-broken/{head}");
        let Some(broken) = broken else {
            daemon::event!(
                domain::event::AUDIT_ANCHOR,
                "the audit of {head} holds up to record {id}, {hash}"
            );
            return self.context.issues().clear(&issue);
        };
        let summary = format!("record {} of the audit of {head}: {}", broken.id, broken.detail);
        daemon::event!(domain::event::AUDIT_BROKEN, "{summary}; see pilotctl audit verify");
        self.context.issues().raise(Issue {
            id: issue,
            kind: "audit-broken".to_owned(),
            context: json!({"head": head, "record": broken.id}),
            severity: Severity::Error,
            since: String::new(),
            summary,
            suggestion: "compare with the journal and the site's syslog: pilotctl audit verify".to_owned(),
            fix: None,
            message_id: domain::event::AUDIT_BROKEN.id.to_owned(),
        });
    }

    fn tell_behind(&self, error: &anyhow::Error) {
        let summary = format!("the audit cannot follow the journal: {error:#}");
        let suggestion = "see journalctl -u pilothouse-timeline; it catches up by itself".to_owned();
        let issue = Issue {
            id: "audit-behind".to_owned(),
            kind: "audit-behind".to_owned(),
            context: json!({}),
            severity: Severity::Warning,
            since: String::new(),
            summary: summary.clone(),
            suggestion,
            fix: None,
            message_id: domain::event::AUDIT_BEHIND.id.to_owned(),
        };
        self.context.issues().raise(issue);
        daemon::event!(domain::event::AUDIT_BEHIND, "{summary}");
    }

    async fn read_anchor(&self) -> io::Result<Option<Anchor>> {
        match tokio::fs::read(self.context.state(ANCHOR)).await {
            Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn move_anchor(&self, change: impl FnOnce(&mut Anchor)) -> io::Result<()> {
        let _alone = self.anchor.lock().await;
        let mut anchor = self.read_anchor().await?.unwrap_or_default();
        change(&mut anchor);
        let path = self.context.state(ANCHOR);
        let write = move || daemon::replace_file(&path, &serde_json::to_vec(&anchor)?, 0o600);
        tokio::task::spawn_blocking(write).await.map_err(io::Error::other)?
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests;
