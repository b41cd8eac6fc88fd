//! Partitions and who is in them.

use domain::Xname;
use domain::inventory::Partition;

use super::Write;
use super::rows::texts;
use crate::error::Error;

impl Write {
    /// Makes a partition with its members; one of the name that is there is an error.
    pub(crate) async fn insert_partition(&mut self, new: &Partition) -> Result<(), Error> {
        sqlx::query("insert into node_partition (name, description, tags) values ($1, $2, $3)")
            .bind(&new.name)
            .bind(&new.description)
            .bind(&new.tags)
            .execute(&mut *self.tx)
            .await?;
        let members: Vec<Xname> = new.members.iter().cloned().collect();
        self.insert_partition_members(&new.name, &members).await
    }

    /// Changes a partition's description or tags; false if there is no such partition.
    pub(crate) async fn update_partition(
        &mut self,
        name: &str,
        description: Option<&str>,
        tags: Option<&[String]>,
    ) -> Result<bool, Error> {
        let done = sqlx::query(
            "update node_partition set description = coalesce($2, description), tags = coalesce($3, tags)
             where name = $1",
        )
        .bind(name)
        .bind(description)
        .bind(tags)
        .execute(&mut *self.tx)
        .await?;
        self.partitions.insert(name.to_owned());
        Ok(done.rows_affected() > 0)
    }

    /// Removes a partition; false if there is none.
    pub(crate) async fn delete_partition(&mut self, name: &str) -> Result<bool, Error> {
        let done = sqlx::query("delete from node_partition where name = $1")
            .bind(name)
            .execute(&mut *self.tx)
            .await?;
        self.partitions.insert(name.to_owned());
        Ok(done.rows_affected() > 0)
    }

    /// Puts components into a partition that is there; one that is in any partition is an error.
    pub(crate) async fn insert_partition_members(&mut self, name: &str, ids: &[Xname]) -> Result<(), Error> {
        sqlx::query(
            "insert into partition_member (component, partition)
             select new.component, $1 from unnest($2::text[]) as new (component)",
        )
        .bind(name)
        .bind(texts(ids))
        .execute(&mut *self.tx)
        .await?;
        self.partitions.insert(name.to_owned());
        Ok(())
    }

    /// Takes a component out of a partition; false if it is not in.
    pub(crate) async fn delete_partition_member(&mut self, name: &str, id: &Xname) -> Result<bool, Error> {
        let done = sqlx::query("delete from partition_member where partition = $1 and component = $2")
            .bind(name)
            .bind(id.as_str())
            .execute(&mut *self.tx)
            .await?;
        self.partitions.insert(name.to_owned());
        Ok(done.rows_affected() > 0)
    }
}
