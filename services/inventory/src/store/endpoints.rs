//! Redfish endpoints and component endpoints.

use domain::Xname;
use domain::feed::Change;
use serde_json::Value;
use sqlx::types::Json;

use super::Write;
use super::rows::{Insert, ROWS_MAX, texts, values};
use crate::error::Error;
use crate::model::redfish::{ComponentEndpoint, RedfishEndpoint};

impl Write {
    /// Stores endpoints.
    pub(crate) async fn put_endpoints(
        &mut self,
        rows: &[RedfishEndpoint],
        insert: Insert,
    ) -> Result<(), Error> {
        for rows in rows.chunks(ROWS_MAX) {
            self.put_some_endpoints(rows, insert).await?;
        }
        Ok(())
    }

    async fn put_some_endpoints(&mut self, rows: &[RedfishEndpoint], insert: Insert) -> Result<(), Error> {
        sqlx::query(
            "insert into redfish_endpoint (id, name, hostname, domain, fqdn, enabled, uuid, username,
                 mac, ip_address, rediscover_on_update, template_id, protocol, port, cipher_suites,
                 workarounds, class, credential_version)
             select id, name, hostname, domain, fqdn, enabled, uuid, username, mac, ip_address,
                 rediscover_on_update, template_id, protocol, port, cipher_suites, workarounds, class,
                 credential_version
             from jsonb_to_recordset($1) as new (id text, name text, hostname text, domain text, fqdn text,
                 enabled boolean, uuid text, username text, mac text, ip_address text,
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
            self.touch_endpoints(rows.iter().map(|it| &it.id));
            return Ok(());
        }
        // What is new is known whole: its feed row needs no reading back.
        for row in rows {
            let named = (!row.hostname.is_empty()).then(|| row.fqdn.clone());
            let mut value = serde_json::to_value(row)?;
            value["address"] = row.ip_address.clone().or(named).into();
            value["nodes"] = Value::Array(Vec::new());
            self.fresh_endpoints.insert(row.id.to_string(), value);
        }
        Ok(())
    }

    /// Has the feed tell that an endpoint has this part.
    fn touch_owner(&mut self, part: &ComponentEndpoint) {
        match self.fresh_endpoints.get_mut(part.endpoint.as_str()).map(|it| &mut it["nodes"]) {
            Some(Value::Array(nodes)) if part.redfish_type == "ComputerSystem" => {
                nodes.push(part.id.as_str().into());
            }
            Some(_) => {}
            None => self.touch_endpoints([&part.endpoint]),
        }
    }

    async fn update_endpoints(&mut self, rows: &[RedfishEndpoint]) -> Result<(), Error> {
        sqlx::query(
            "update redfish_endpoint it set name = new.name, hostname = new.hostname, domain = new.domain,
                 fqdn = new.fqdn, enabled = new.enabled, uuid = new.uuid, username = new.username,
                 mac = new.mac, ip_address = new.ip_address, rediscover_on_update = new.rediscover_on_update,
                 template_id = new.template_id, protocol = new.protocol, port = new.port,
                 cipher_suites = new.cipher_suites, workarounds = new.workarounds, class = new.class
             from jsonb_to_recordset($1) as new (id text, name text, hostname text, domain text, fqdn text,
                 enabled boolean, uuid text, username text, mac text, ip_address text,
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
        for rows in rows.chunks(ROWS_MAX) {
            self.put_some_component_endpoints(rows).await?;
        }
        Ok(())
    }

    async fn put_some_component_endpoints(&mut self, rows: &[ComponentEndpoint]) -> Result<(), Error> {
        // One may move to another endpoint, which changes both.
        let moved: Vec<Xname> = self.read(|it| {
            let old = rows.iter().filter_map(|row| it.component_endpoint(&row.id));
            old.map(|it| it.endpoint.clone()).collect()
        });
        self.touch_endpoints(&moved);
        rows.iter().for_each(|it| self.touch_owner(it));
        let rows = values(rows)?;
        sqlx::query(
            "insert into component_endpoint (id, endpoint, redfish_type, redfish_subtype, uuid, odata_id,
                 enabled,
                 name, actions, command_shell, nics)
             select id, endpoint, redfish_type, redfish_subtype, uuid, odata_id, enabled, name, actions,
                 command_shell, nics
             from jsonb_to_recordset($1) as new (id text, endpoint text, redfish_type text,
                 redfish_subtype text,
                 uuid text, odata_id text, enabled boolean, name text, actions text[], command_shell text[],
                 nics jsonb)
             on conflict (id) do update set endpoint = excluded.endpoint,
                 redfish_type = excluded.redfish_type,
                 redfish_subtype = excluded.redfish_subtype, uuid = excluded.uuid,
                 odata_id = excluded.odata_id,
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
}
