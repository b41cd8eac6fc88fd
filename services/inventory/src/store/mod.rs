//! All SQL. A write is one transaction that stores rows and records them in the feed.
//!
//! Writers take turns: in this process by a lock, across heads by the row lock of the feed's counter. Whoever
//! has the turn sees in the Catalog exactly what is in the tables, so that decisions are made in memory and a
//! bulk write is a handful of set-based statements. The constraints stay the last word.

mod credentials;
mod endpoints;
mod groups;
mod partitions;
mod rows;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use domain::Xname;
use domain::feed::Change;
use serde_json::Value;
use sqlx::PgTransaction;
use tokio::sync::{Mutex, OwnedMutexGuard};
use web::Database;
use web::mirror::{Freshness, Mirror};

use crate::error::Error;
use crate::model::catalog::Catalog;

pub(crate) use credentials::{SealedCredential, list_credentials};
pub(crate) use rows::{Insert, Origin};

/// How often a writer looks again when another head wrote in between.
const TURNS_MAX: usize = 5;

/// How long a writer waits for a Catalog that does not follow its database yet.
const LIVE_MAX: Duration = Duration::from_secs(3);

/// The tables, and the view of them in memory.
#[derive(Clone)]
pub(crate) struct Store {
    pub(crate) database: Database,
    pub(crate) catalog: Mirror<Catalog>,
    turn: Arc<Mutex<()>>,
}

/// A write under way; dropped without [`commit`](Write::commit), nothing is changed.
pub(crate) struct Write {
    tx: PgTransaction<'static>,
    changes: Vec<Change>,
    /// Endpoints, groups and partitions whose rows are read again before the commit: they are put together of several
    /// tables.
    endpoints: BTreeSet<String>,
    groups: BTreeSet<String>,
    partitions: BTreeSet<String>,
    /// Rows of endpoints that this write makes, by id; one that is touched again is read back all the same.
    fresh_endpoints: BTreeMap<String, Value>,
    /// Whether a name was written: those are checked at the end of the transaction.
    named: bool,
    catalog: Mirror<Catalog>,
    _turn: OwnedMutexGuard<()>,
}

impl Store {
    pub(crate) fn new(database: Database, catalog: Mirror<Catalog>) -> Self {
        Self { database, catalog, turn: Arc::default() }
    }

    /// Waits for the turn and begins a write.
    pub(crate) async fn write(&self) -> Result<Write, Error> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        for _ in 0..TURNS_MAX {
            let mut tx = self.database.begin().await?;
            let seq: i64 = sqlx::query_scalar("select seq from feed for update").fetch_one(&mut *tx).await?;
            let live = self.catalog.freshness() == Freshness::Live;
            if live && self.catalog.seq() == seq {
                return Ok(Write {
                    tx,
                    changes: Vec::new(),
                    endpoints: BTreeSet::new(),
                    groups: BTreeSet::new(),
                    partitions: BTreeSet::new(),
                    fresh_endpoints: BTreeMap::new(),
                    named: false,
                    catalog: self.catalog.clone(),
                    _turn: turn,
                });
            }
            let mut changes = self.catalog.subscribe();
            tx.rollback().await?;
            if self.catalog.freshness() != Freshness::Live {
                // Right after the start, or the database was lost: the Catalog catches up within moments.
                drop(tokio::time::timeout(LIVE_MAX, changes.changed()).await);
            }
            self.catalog.reached(seq).await.map_err(|_| Error::Behind)?;
        }
        Err(Error::Behind)
    }
}

impl Write {
    /// Looks something up as it is before this write.
    pub(crate) fn read<R>(&self, look: impl FnOnce(&Catalog) -> R) -> R {
        self.catalog.read(look)
    }

    /// Stores everything, and returns when it is served.
    pub(crate) async fn commit(mut self) -> Result<(), Error> {
        self.note_endpoints().await?;
        self.note_groups().await?;
        self.note_partitions().await?;
        if self.named {
            // Names are checked at the end of the transaction, before which the feed must not count it.
            sqlx::query("set constraints all immediate").execute(&mut *self.tx).await?;
        }
        Ok(web::feed::commit(self.tx, &self.changes, &self.catalog).await?)
    }

    fn touch_endpoints<'a>(&mut self, ids: impl IntoIterator<Item = &'a Xname>) {
        self.endpoints.extend(ids.into_iter().map(ToString::to_string));
    }

    async fn note_endpoints(&mut self) -> Result<(), Error> {
        let fresh = std::mem::take(&mut self.fresh_endpoints);
        let known = fresh.into_iter().filter(|it| !self.endpoints.contains(&it.0));
        self.changes.extend(known.map(|(id, row)| Change::put("endpoint", id, row)));
        if self.endpoints.is_empty() {
            return Ok(());
        }
        let ids: Vec<&String> = self.endpoints.iter().collect();
        let rows: Vec<(String, Option<Value>)> = sqlx::query_as(
            "select wanted.id, to_jsonb(it) || jsonb_build_object(
                 'address', coalesce(it.ip_address, case when it.hostname <> '' then it.fqdn end),
                 'nodes', coalesce(part.nodes, '[]'))
             from unnest($1::text[]) as wanted (id)
                 left join redfish_endpoint it on it.id = wanted.id
                 left join (select endpoint, jsonb_agg(id order by id) as nodes from component_endpoint
                     where redfish_type = 'ComputerSystem' and endpoint = any($1::text[])
                     group by endpoint) as part on part.endpoint = wanted.id",
        )
        .bind(&ids)
        .fetch_all(&mut *self.tx)
        .await?;
        self.changes
            .extend(rows.into_iter().map(|(id, row)| Change::put("endpoint", id, row.unwrap_or_default())));
        Ok(())
    }

    async fn note_groups(&mut self) -> Result<(), Error> {
        if self.groups.is_empty() {
            return Ok(());
        }
        let labels: Vec<&String> = self.groups.iter().collect();
        let rows: Vec<(String, Option<Value>)> = sqlx::query_as(
            "select wanted.label, to_jsonb(it) || jsonb_build_object(
                 'members', coalesce(member.ids, '[]'))
             from unnest($1::text[]) as wanted (label)
                 left join node_group it on it.label = wanted.label
                 left join (select label, jsonb_agg(component order by component) as ids from group_member
                     where label = any($1::text[]) group by label) as member
                     on member.label = wanted.label",
        )
        .bind(labels)
        .fetch_all(&mut *self.tx)
        .await?;
        self.changes
            .extend(rows.into_iter().map(|(id, row)| Change::put("group", id, row.unwrap_or_default())));
        Ok(())
    }

    async fn note_partitions(&mut self) -> Result<(), Error> {
        if self.partitions.is_empty() {
            return Ok(());
        }
        let names: Vec<&String> = self.partitions.iter().collect();
        let rows: Vec<(String, Option<Value>)> = sqlx::query_as(
            "select wanted.name, to_jsonb(it) || jsonb_build_object(
                 'members', coalesce(member.ids, '[]'))
             from unnest($1::text[]) as wanted (name)
                 left join node_partition it on it.name = wanted.name
                 left join (select partition, jsonb_agg(component order by component) as ids
                     from partition_member where partition = any($1::text[]) group by partition) as member
                     on member.partition = wanted.name",
        )
        .bind(names)
        .fetch_all(&mut *self.tx)
        .await?;
        self.changes
            .extend(rows.into_iter().map(|(id, row)| Change::put("partition", id, row.unwrap_or_default())));
        Ok(())
    }
}
