//! Rows in bulk: one statement a table, whatever their number. Rows travel as one JSON value, whose members are the
//! columns; the change rows of the feed are the same values.

use domain::Xname;
use domain::feed::Change;
use domain::inventory::{Component, Group, Interface};
use serde::Serialize;
use serde_json::Value;
use sqlx::types::Json;

use super::Write;
use crate::error::Error;
use crate::model::import::Origins;
use crate::model::redfish::{ComponentEndpoint, RedfishEndpoint};

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

fn values<T: Serialize>(rows: &[T]) -> Result<Value, Error> {
    Ok(serde_json::to_value(rows)?)
}

fn texts(ids: &[Xname]) -> Vec<&str> {
    ids.iter().map(Xname::as_str).collect()
}

impl Write {
    fn note(&mut self, kind: &str, rows: Value) {
        let Value::Array(rows) = rows else { return };
        for row in rows {
            let id = row["id"].as_str().unwrap_or_default().to_owned();
            self.changes.push(Change::put(kind, id, row));
        }
    }

    /// Stores components, replacing those that are there.
    pub(crate) async fn put_components(&mut self, rows: &[Component]) -> Result<(), Error> {
        if rows.is_empty() {
            return Ok(());
        }
        let rows = values(rows)?;
        sqlx::query(
            "insert into component (id, state, flag, enabled, software_status, role, sub_role, nid, net_type, arch,
                 class, name)
             select id, state, flag, enabled, software_status, role, sub_role, nid, net_type, arch, class, name
             from jsonb_to_recordset($1) as new (id text, state text, flag text, enabled boolean,
                 software_status text, role text, sub_role text, nid bigint, net_type text, arch text, class text,
                 name text)
             on conflict (id) do update set state = excluded.state, flag = excluded.flag,
                 enabled = excluded.enabled, software_status = excluded.software_status, role = excluded.role,
                 sub_role = excluded.sub_role, nid = excluded.nid, net_type = excluded.net_type,
                 arch = excluded.arch, class = excluded.class, name = excluded.name",
        )
        .bind(Json(&rows))
        .execute(&mut *self.tx)
        .await?;
        self.note("component", rows);
        Ok(())
    }

    /// Removes components with their memberships.
    pub(crate) async fn delete_components(&mut self, ids: &[Xname]) -> Result<(), Error> {
        let labels: Vec<(String,)> = sqlx::query_as(
            "select distinct label from group_member where component = any($1::text[])",
        )
        .bind(texts(ids))
        .fetch_all(&mut *self.tx)
        .await?;
        self.groups.extend(labels.into_iter().map(|it| it.0));
        sqlx::query("delete from component where id = any($1::text[])")
            .bind(texts(ids))
            .execute(&mut *self.tx)
            .await?;
        self.changes.extend(ids.iter().map(|it| Change::delete("component", it.as_str())));
        Ok(())
    }

    /// Stores interfaces; the origin of one that is there stays.
    pub(crate) async fn put_interfaces(
        &mut self,
        rows: &[Interface],
        origin: Origin,
        insert: Insert,
    ) -> Result<(), Error> {
        if rows.is_empty() {
            return Ok(());
        }
        let rows = values(rows)?;
        if insert == Insert::OrReplace {
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
        }
        sqlx::query(
            "insert into ethernet_interface (id, mac, component, description, last_update, origin)
             select id, mac, component, description, last_update, $2
             from jsonb_to_recordset($1) as new (id text, mac macaddr, component text, description text,
                 last_update timestamptz)
             where $3 or not exists (select from ethernet_interface it where it.id = new.id)",
        )
        .bind(Json(&rows))
        .bind(origin.word())
        .bind(insert == Insert::New)
        .execute(&mut *self.tx)
        .await?;
        sqlx::query(
            "insert into interface_address (interface, position, address, network)
             select new.id, listed.position, listed.item ->> 'address', coalesce(listed.item ->> 'network', '')
             from jsonb_to_recordset($1) as new (id text, addresses jsonb),
                 jsonb_array_elements(new.addresses) with ordinality as listed (item, position)",
        )
        .bind(Json(&rows))
        .execute(&mut *self.tx)
        .await?;
        self.note("interface", rows);
        Ok(())
    }

    /// Makes an interface that an endpoint made an explicit one; false if it is one already, or of another component.
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

    /// Stores endpoints.
    pub(crate) async fn put_endpoints(&mut self, rows: &[RedfishEndpoint], insert: Insert) -> Result<(), Error> {
        sqlx::query(
            "insert into redfish_endpoint (id, name, hostname, domain, fqdn, enabled, uuid, username, mac, ip_address,
                 rediscover_on_update, template_id, protocol, port, cipher_suites, workarounds, class,
                 credential_version)
             select id, name, hostname, domain, fqdn, enabled, uuid, username, mac, ip_address,
                 rediscover_on_update, template_id, protocol, port, cipher_suites, workarounds, class,
                 credential_version
             from jsonb_to_recordset($1) as new (id text, name text, hostname text, domain text, fqdn text,
                 enabled boolean, uuid text, username text, mac macaddr, ip_address text,
                 rediscover_on_update boolean, template_id text, protocol text, port integer,
                 cipher_suites smallint[], workarounds text[], class text, credential_version bigint)
             where $2 or not exists (select from redfish_endpoint it where it.id = new.id)",
        )
        .bind(Json(values(rows)?))
        .bind(insert == Insert::New)
        .execute(&mut *self.tx)
        .await?;
        if insert == Insert::OrReplace {
            self.update_endpoints(rows).await?;
        }
        self.touch_endpoints(rows.iter().map(|it| &it.id));
        Ok(())
    }

    async fn update_endpoints(&mut self, rows: &[RedfishEndpoint]) -> Result<(), Error> {
        sqlx::query(
            "update redfish_endpoint it set name = new.name, hostname = new.hostname, domain = new.domain,
                 fqdn = new.fqdn, enabled = new.enabled, uuid = new.uuid, username = new.username, mac = new.mac,
                 ip_address = new.ip_address, rediscover_on_update = new.rediscover_on_update,
                 template_id = new.template_id, protocol = new.protocol, port = new.port,
                 cipher_suites = new.cipher_suites, workarounds = new.workarounds, class = new.class
             from jsonb_to_recordset($1) as new (id text, name text, hostname text, domain text, fqdn text,
                 enabled boolean, uuid text, username text, mac macaddr, ip_address text,
                 rediscover_on_update boolean, template_id text, protocol text, port integer,
                 cipher_suites smallint[], workarounds text[], class text)
             where it.id = new.id",
        )
        .bind(Json(values(rows)?))
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Removes endpoints with their component endpoints (which the caller names) and their own credentials.
    pub(crate) async fn delete_endpoints(&mut self, ids: &[Xname], parts: &[Xname]) -> Result<(), Error> {
        sqlx::query("delete from redfish_endpoint where id = any($1::text[])")
            .bind(texts(ids))
            .execute(&mut *self.tx)
            .await?;
        sqlx::query("delete from bmc_credential where scope = any($1::text[])")
            .bind(texts(ids))
            .execute(&mut *self.tx)
            .await?;
        self.touch_endpoints(ids);
        self.changes.extend(parts.iter().map(|it| Change::delete("component-endpoint", it.as_str())));
        Ok(())
    }

    /// Stores component endpoints, replacing those that are there.
    pub(crate) async fn put_component_endpoints(&mut self, rows: &[ComponentEndpoint]) -> Result<(), Error> {
        if rows.is_empty() {
            return Ok(());
        }
        // One may move to another endpoint, which changes both.
        let moved: Vec<Xname> = self.read(|it| {
            let old = rows.iter().filter_map(|row| it.component_endpoint(&row.id));
            old.map(|it| it.endpoint.clone()).collect()
        });
        self.touch_endpoints(&moved);
        self.touch_endpoints(rows.iter().map(|it| &it.endpoint));
        let rows = values(rows)?;
        sqlx::query(
            "insert into component_endpoint (id, endpoint, redfish_type, redfish_subtype, uuid, odata_id, enabled,
                 name, actions, command_shell, nics)
             select id, endpoint, redfish_type, redfish_subtype, uuid, odata_id, enabled, name, actions,
                 command_shell, nics
             from jsonb_to_recordset($1) as new (id text, endpoint text, redfish_type text, redfish_subtype text,
                 uuid text, odata_id text, enabled boolean, name text, actions text[], command_shell text[],
                 nics jsonb)
             on conflict (id) do update set endpoint = excluded.endpoint, redfish_type = excluded.redfish_type,
                 redfish_subtype = excluded.redfish_subtype, uuid = excluded.uuid, odata_id = excluded.odata_id,
                 enabled = excluded.enabled, name = excluded.name, actions = excluded.actions,
                 command_shell = excluded.command_shell, nics = excluded.nics",
        )
        .bind(Json(&rows))
        .execute(&mut *self.tx)
        .await?;
        self.note("component-endpoint", rows);
        Ok(())
    }

    /// Removes component endpoints; `endpoints` are those they belong to.
    pub(crate) async fn delete_component_endpoints(
        &mut self,
        ids: &[Xname],
        endpoints: &[Xname],
    ) -> Result<(), Error> {
        sqlx::query("delete from component_endpoint where id = any($1::text[])")
            .bind(texts(ids))
            .execute(&mut *self.tx)
            .await?;
        self.touch_endpoints(endpoints);
        self.changes.extend(ids.iter().map(|it| Change::delete("component-endpoint", it.as_str())));
        Ok(())
    }

    /// Makes groups without members; one that is there is an error.
    pub(crate) async fn insert_groups(&mut self, rows: &[Group]) -> Result<(), Error> {
        sqlx::query(
            "insert into node_group (label, description, tags, exclusive_group)
             select label, description, tags, exclusive_group
             from jsonb_to_recordset($1) as new (label text, description text, tags text[], exclusive_group text)",
        )
        .bind(Json(values(rows)?))
        .execute(&mut *self.tx)
        .await?;
        self.groups.extend(rows.iter().map(|it| it.label.clone()));
        Ok(())
    }

    /// Changes a group's description or tags; false if there is no such group.
    pub(crate) async fn update_group(
        &mut self,
        label: &str,
        description: Option<&str>,
        tags: Option<&[String]>,
    ) -> Result<bool, Error> {
        let done = sqlx::query(
            "update node_group set description = coalesce($2, description), tags = coalesce($3, tags)
             where label = $1",
        )
        .bind(label)
        .bind(description)
        .bind(tags)
        .execute(&mut *self.tx)
        .await?;
        self.groups.insert(label.to_owned());
        Ok(done.rows_affected() > 0)
    }

    /// Removes a group; false if there is none.
    pub(crate) async fn delete_group(&mut self, label: &str) -> Result<bool, Error> {
        let done = sqlx::query("delete from node_group where label = $1").bind(label).execute(&mut *self.tx).await?;
        self.groups.insert(label.to_owned());
        Ok(done.rows_affected() > 0)
    }

    /// Puts components into groups that are there; one that is in already is an error.
    pub(crate) async fn insert_members(&mut self, pairs: &[(String, Xname)], imported: bool) -> Result<(), Error> {
        sqlx::query(
            "insert into group_member (label, component, exclusive_group, imported)
             select it.label, new.component, it.exclusive_group, $3
             from unnest($1::text[], $2::text[]) as new (label, component) join node_group it on it.label = new.label",
        )
        .bind(pairs.iter().map(|it| it.0.as_str()).collect::<Vec<_>>())
        .bind(pairs.iter().map(|it| it.1.as_str()).collect::<Vec<_>>())
        .bind(imported)
        .execute(&mut *self.tx)
        .await?;
        self.groups.extend(pairs.iter().map(|it| it.0.clone()));
        Ok(())
    }

    /// Takes components out of groups; gives back how many were in.
    pub(crate) async fn delete_members(&mut self, pairs: &[(String, Xname)]) -> Result<u64, Error> {
        let done = sqlx::query(
            "delete from group_member it using unnest($1::text[], $2::text[]) as gone (label, component)
             where it.label = gone.label and it.component = gone.component",
        )
        .bind(pairs.iter().map(|it| it.0.as_str()).collect::<Vec<_>>())
        .bind(pairs.iter().map(|it| it.1.as_str()).collect::<Vec<_>>())
        .execute(&mut *self.tx)
        .await?;
        self.groups.extend(pairs.iter().map(|it| it.0.clone()));
        Ok(done.rows_affected())
    }

    /// What an import may take away again.
    pub(crate) async fn find_origins(&mut self) -> Result<Origins, Error> {
        let interfaces: Vec<(String,)> =
            sqlx::query_as("select id from ethernet_interface where origin <> 'api'").fetch_all(&mut *self.tx).await?;
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
