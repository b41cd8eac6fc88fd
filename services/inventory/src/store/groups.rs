//! Groups and who is in them.

use domain::Xname;
use domain::inventory::Group;
use sqlx::types::Json;

use super::Write;
use super::rows::values;
use crate::error::Error;

impl Write {
    /// Makes groups without members; one that is there is an error.
    pub(crate) async fn insert_groups(&mut self, rows: &[Group]) -> Result<(), Error> {
        sqlx::query(
            "insert into node_group (label, description, tags, exclusive_group)
             select label, description, tags, exclusive_group
             from jsonb_to_recordset($1) as new (label text, description text, tags text[],
                 exclusive_group text)",
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
        let done =
            sqlx::query("delete from node_group where label = $1").bind(label).execute(&mut *self.tx).await?;
        self.groups.insert(label.to_owned());
        Ok(done.rows_affected() > 0)
    }

    /// Puts components into groups that are there; one that is in already is an error.
    pub(crate) async fn insert_members(
        &mut self,
        pairs: &[(String, Xname)],
        imported: bool,
    ) -> Result<(), Error> {
        sqlx::query(
            "insert into group_member (label, component, exclusive_group, imported)
             select it.label, new.component, it.exclusive_group, $3
             from unnest($1::text[], $2::text[]) as new (label,
                 component) join node_group it on it.label = new.label",
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
}
