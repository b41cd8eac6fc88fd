//! Rows in bulk: one statement a table, whatever their number. Rows travel as one JSON value, whose members
//! are the columns; the change rows of the feed are the same values.

use domain::Xname;
use domain::feed::Change;
use domain::inventory::{Component, Interface};
use serde::Serialize;
use serde_json::Value;
use sqlx::types::Json;

use super::Write;
use crate::error::Error;
use crate::model::import::Origins;

/// Who made an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Api,
    Endpoint,
    Import,
}

/// Whether a row that is there already is an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Insert {
    New,
    OrReplace,
}

impl Origin {
    fn word(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Endpoint => "endpoint",
            Self::Import => "import",
        }
    }
}

/// So many rows a statement: each connection keeps the room that its longest one took.
pub(super) const ROWS_MAX: usize = 1000;

pub(super) fn values<T: Serialize>(rows: &[T]) -> Result<Value, Error> {
    Ok(serde_json::to_value(rows)?)
}

pub(super) fn texts(ids: &[Xname]) -> Vec<&str> {
    ids.iter().map(Xname::as_str).collect()
}

impl Write {
    pub(super) fn note(&mut self, kind: &str, rows: Value) {
        let Value::Array(rows) = rows else { return };
        for row in rows {
            let id = row["id"].as_str().unwrap_or_default().to_owned();
            self.changes.push(Change::put(kind, id, row));
        }
    }

    /// Stores components, replacing those that are there.
    pub(crate) async fn put_components(&mut self, rows: &[Component]) -> Result<(), Error> {
        self.named |= rows.iter().any(|it| it.name.is_some());
        for rows in rows.chunks(ROWS_MAX) {
            self.put_some_components(values(rows)?).await?;
        }
        Ok(())
    }

    async fn put_some_components(&mut self, rows: Value) -> Result<(), Error> {
        sqlx::query(
            "insert into component (id, state, flag, enabled, software_status, role, sub_role, nid,
                 net_type, arch, class, name, lock)
             select id, state, flag, enabled, software_status, role, sub_role, nid, net_type, arch,
                 class, name, lock
             from jsonb_to_recordset($1) as new (id text, state text, flag text, enabled boolean,
                 software_status text, role text, sub_role text, nid bigint, net_type text, arch text,
                 class text, name text, lock jsonb)
             on conflict (id) do update set state = excluded.state, flag = excluded.flag,
                 enabled = excluded.enabled, software_status = excluded.software_status,
                 role = excluded.role, sub_role = excluded.sub_role, nid = excluded.nid,
                 net_type = excluded.net_type,
                 arch = excluded.arch, class = excluded.class, name = excluded.name,
                 lock = excluded.lock",
        )
        .bind(Json(&rows))
        .execute(&mut *self.tx)
        .await?;
        self.note("component", rows);
        Ok(())
    }

    /// Removes components with their memberships.
    pub(crate) async fn delete_components(&mut self, ids: &[Xname]) -> Result<(), Error> {
        let (groups, partitions): (Vec<String>, Vec<String>) = self.read(|it| {
            let groups = ids.iter().flat_map(|id| it.inventory.groups_of(id)).map(str::to_owned);
            let partitions = ids.iter().filter_map(|id| it.inventory.partition_of(id)).map(str::to_owned);
            (groups.collect(), partitions.collect())
        });
        self.groups.extend(groups);
        self.partitions.extend(partitions);
        sqlx::query("delete from component where id = any($1::text[])")
            .bind(texts(ids))
            .execute(&mut *self.tx)
            .await?;
        self.changes.extend(ids.iter().map(|it| Change::delete("component", it.as_str())));
        Ok(())
    }

    /// Stores interfaces; the origin of one that is there stays, unless it is to be new.
    pub(crate) async fn put_interfaces(
        &mut self,
        rows: &[Interface],
        origin: impl Fn(&Interface) -> Origin,
        insert: Insert,
    ) -> Result<(), Error> {
        let known = |it: &&Interface| {
            insert == Insert::OrReplace && self.read(|all| all.inventory.interface(&it.id).is_some())
        };
        let (old, new): (Vec<&Interface>, Vec<&Interface>) = rows.iter().partition(known);
        for old in old.chunks(ROWS_MAX) {
            self.update_interfaces(old).await?;
        }
        for new in new.chunks(ROWS_MAX) {
            self.insert_interfaces(new, &origin).await?;
        }
        Ok(())
    }

    async fn insert_interfaces(
        &mut self,
        rows: &[&Interface],
        origin: impl Fn(&Interface) -> Origin,
    ) -> Result<(), Error> {
        let ids: Vec<&str> = rows.iter().map(|it| it.id.as_str()).collect();
        let origins: Vec<&str> = rows.iter().map(|it| origin(it).word()).collect();
        let rows = values(rows)?;
        sqlx::query(
            "with new as (
                 select * from jsonb_to_recordset($1) as new (id text, mac text, component text,
                     description text, last_update timestamptz, addresses jsonb)),
             made as (
                 insert into ethernet_interface (id, mac, component, description, last_update, origin)
                 select new.id, mac, component, description, last_update, maker.origin
                 from new join unnest($2::text[], $3::text[]) as maker (id, origin) on maker.id = new.id)
             insert into interface_address (interface, position, address, network)
             select new.id, listed.position, listed.item ->> 'address',
                 coalesce(listed.item ->> 'network', '')
             from new, jsonb_array_elements(new.addresses) with ordinality as listed (item, position)",
        )
        .bind(Json(&rows))
        .bind(ids)
        .bind(origins)
        .execute(&mut *self.tx)
        .await?;
        self.note("interface", rows);
        Ok(())
    }

    async fn update_interfaces(&mut self, rows: &[&Interface]) -> Result<(), Error> {
        let rows = values(rows)?;
        sqlx::query(
            "update ethernet_interface it set component = new.component, description = new.description,
                 last_update = new.last_update
             from jsonb_to_recordset($1) as new (id text, component text, description text,
                 last_update timestamptz)
             where it.id = new.id",
        )
        .bind(Json(&rows))
        .execute(&mut *self.tx)
        .await?;
        sqlx::query(
            "delete from interface_address where interface in
                 (select id from jsonb_to_recordset($1) as new (id text))",
        )
        .bind(Json(&rows))
        .execute(&mut *self.tx)
        .await?;
        sqlx::query(
            "insert into interface_address (interface, position, address, network)
             select new.id, listed.position, listed.item ->> 'address',
                 coalesce(listed.item ->> 'network', '')
             from jsonb_to_recordset($1) as new (id text, addresses jsonb),
                 jsonb_array_elements(new.addresses) with ordinality as listed (item, position)",
        )
        .bind(Json(&rows))
        .execute(&mut *self.tx)
        .await?;
        self.note("interface", rows);
        Ok(())
    }

    /// Makes an interface that an endpoint made an explicit one; false if it is one already, or of another
    /// component.
    pub(crate) async fn take_over_interface(&mut self, row: &Interface) -> Result<bool, Error> {
        let done = sqlx::query(
            "update ethernet_interface set origin = 'api'
             where id = $1 and component is not distinct from $2 and origin = 'endpoint'",
        )
        .bind(&row.id)
        .bind(row.component.as_ref().map(Xname::as_str))
        .execute(&mut *self.tx)
        .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Removes interfaces.
    pub(crate) async fn delete_interfaces(&mut self, ids: &[String]) -> Result<(), Error> {
        sqlx::query("delete from ethernet_interface where id = any($1::text[])")
            .bind(ids)
            .execute(&mut *self.tx)
            .await?;
        self.changes.extend(ids.iter().map(|it| Change::delete("interface", it.as_str())));
        Ok(())
    }

    /// What an import may take away again.
    pub(crate) async fn find_origins(&mut self) -> Result<Origins, Error> {
        let interfaces: Vec<(String,)> =
            sqlx::query_as("select id from ethernet_interface where origin <> 'api'")
                .fetch_all(&mut *self.tx)
                .await?;
        let memberships: Vec<(String, String)> =
            sqlx::query_as("select label, component from group_member where imported")
                .fetch_all(&mut *self.tx)
                .await?;
        let pair = |(label, id): (String, String)| Some((label, id.parse().ok()?));
        Ok(Origins {
            interfaces: interfaces.into_iter().map(|it| it.0).collect(),
            memberships: memberships.into_iter().filter_map(pair).collect(),
        })
    }
}
