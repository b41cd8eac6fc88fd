//! The table `lease`.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;

use domain::MacAddr;
use sqlx::PgConnection;

use super::{Entry, Write};

/// A row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) ip: Ipv4Addr,
    /// All zeros: nobody may have the address.
    pub(super) mac: MacAddr,
    /// Seconds since 1970.
    pub(super) expires: i64,
}

/// An address that another machine has by the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) ip: Ipv4Addr,
    /// Seconds since 1970.
    pub(super) until: i64,
}

/// Writes a batch, one statement for all that is held; gives back the addresses that others have.
pub(super) async fn write(db: &mut PgConnection, batch: &[Entry]) -> sqlx::Result<Vec<Taken>> {
    let nobody = MacAddr::new([0; 6]);
    let (mut gone, mut held) = (Vec::new(), HashMap::with_capacity(batch.len()));
    for entry in batch {
        match entry.write {
            // A statement may meet a row once: the last word about an address counts.
            Write::Put(lease) => {
                held.insert(lease.ip, (lease.mac, lease.expires));
            }
            Write::Drop(lease) => {
                held.remove(&lease.ip);
                gone.push((lease.ip, lease.mac));
            }
            Write::Refuse(lease, until) => {
                gone.push((lease.ip, lease.mac));
                held.insert(lease.ip, (nobody, until));
            }
        }
    }
    if !gone.is_empty() {
        delete(db, &gone).await?;
    }
    if held.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<Row> = held.into_iter().map(|(ip, (mac, expires))| Row { ip, mac, expires }).collect();
    let kept = upsert(db, &rows).await?;
    if kept.len() == rows.len() {
        return Ok(Vec::new());
    }
    let refused: Vec<Ipv4Addr> = rows.iter().map(|it| it.ip).filter(|it| !kept.contains(it)).collect();
    find_taken(db, &refused).await
}

async fn upsert(db: &mut PgConnection, rows: &[Row]) -> sqlx::Result<HashSet<Ipv4Addr>> {
    let addresses: Vec<String> = rows.iter().map(|it| it.ip.to_string()).collect();
    let macs: Vec<String> = rows.iter().map(|it| it.mac.to_string()).collect();
    let expires: Vec<i64> = rows.iter().map(|it| it.expires).collect();
    let kept: Vec<String> = sqlx::query_scalar(
        "insert into lease as held (address, mac, expires)
         select address::inet, mac::macaddr, to_timestamp(expires)
         from unnest($1::text[], $2::text[], $3::bigint[]) as new (address, mac, expires)
         order by 1
         on conflict on constraint lease_address_key
         do update set mac = excluded.mac, expires = excluded.expires
         where held.mac = excluded.mac or held.expires <= now()
         returning host(address)",
    )
    .bind(addresses)
    .bind(macs)
    .bind(expires)
    .fetch_all(db)
    .await?;
    Ok(kept.iter().filter_map(|it| it.parse().ok()).collect())
}

async fn delete(db: &mut PgConnection, gone: &[(Ipv4Addr, MacAddr)]) -> sqlx::Result<()> {
    let addresses: Vec<String> = gone.iter().map(|it| it.0.to_string()).collect();
    let macs: Vec<String> = gone.iter().map(|it| it.1.to_string()).collect();
    sqlx::query(
        "delete from lease using unnest($1::text[], $2::text[]) as gone (address, mac)
         where lease.address = gone.address::inet and lease.mac = gone.mac::macaddr",
    )
    .bind(addresses)
    .bind(macs)
    .execute(db)
    .await?;
    Ok(())
}

async fn find_taken(db: &mut PgConnection, refused: &[Ipv4Addr]) -> sqlx::Result<Vec<Taken>> {
    let addresses: Vec<String> = refused.iter().map(Ipv4Addr::to_string).collect();
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "select host(address), ceil(extract(epoch from expires))::bigint
         from lease where address = any($1::text[]::inet[])",
    )
    .bind(addresses)
    .fetch_all(db)
    .await?;
    let until: HashMap<Ipv4Addr, i64> =
        rows.iter().filter_map(|it| Some((it.0.parse().ok()?, it.1))).collect();
    // One that is gone meanwhile is free at the next request.
    Ok(refused.iter().map(|ip| Taken { ip: *ip, until: until.get(ip).copied().unwrap_or(0) }).collect())
}

/// Every lease that has not ended, the longest last.
pub(super) async fn list(db: &mut PgConnection) -> sqlx::Result<Vec<Row>> {
    let rows: Vec<(String, String, i64)> = sqlx::query_as(
        "select host(address), mac::text, extract(epoch from expires)::bigint
         from lease where expires > now() order by expires, address",
    )
    .fetch_all(db)
    .await?;
    let row = |(ip, mac, expires): (String, String, i64)| {
        Some(Row { ip: ip.parse().ok()?, mac: mac.parse().ok()?, expires })
    };
    Ok(rows.into_iter().filter_map(row).collect())
}

/// Takes out what ended more than a week ago; until then its machine may find its address again.
pub(super) async fn clean(db: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query("delete from lease where expires < now() - interval '7 days'").execute(db).await?;
    Ok(())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::net::Ipv4Addr;

    use domain::MacAddr;
    use sqlx::PgPool;

    use super::{Row, clean, list, write};
    use crate::model::Lease;
    use crate::store::{Entry, Write};

    const IP: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 200);

    fn lease(last: u8, seconds: i64) -> Lease {
        let expires = crate::state::now() + seconds;
        Lease { mac: MacAddr::new([2, 0, 0, 0, 0, last]), ip: IP, place: 0, expires, bound: true }
    }

    fn entry(write: Write) -> Entry {
        Entry { write, outgoing: None, renewed: false, step: None }
    }

    #[sqlx::test(migrator = "crate::MIGRATIONS")]
    async fn who_comes_first_has_the_address(pool: PgPool) {
        let mut db = pool.acquire().await.unwrap();
        let (one, two) = (lease(1, 100), lease(2, 100));
        assert_eq!(write(&mut db, &[entry(Write::Put(one))]).await.unwrap(), []);
        let taken = write(&mut db, &[entry(Write::Put(two))]).await.unwrap();
        assert_eq!((taken[0].ip, taken[0].until), (IP, one.expires));
        // It renews, twice in one batch; the last word counts.
        let later = Lease { expires: one.expires + 50, ..one };
        let batch = [entry(Write::Put(one)), entry(Write::Put(later))];
        assert_eq!(write(&mut db, &batch).await.unwrap(), []);
        let row = Row { ip: IP, mac: one.mac, expires: later.expires };
        assert_eq!(list(&mut db).await.unwrap(), [row]);
        // Another's release changes nothing, its own does.
        write(&mut db, &[entry(Write::Drop(two))]).await.unwrap();
        assert_eq!(list(&mut db).await.unwrap(), [row]);
        write(&mut db, &[entry(Write::Drop(one))]).await.unwrap();
        assert_eq!(list(&mut db).await.unwrap(), []);
        assert_eq!(write(&mut db, &[entry(Write::Put(two))]).await.unwrap(), []);
    }

    #[sqlx::test(migrator = "crate::MIGRATIONS")]
    async fn an_address_in_use_is_nobodys_and_one_that_ended_is_anybodys(pool: PgPool) {
        let mut db = pool.acquire().await.unwrap();
        let (one, two) = (lease(1, 100), lease(2, 100));
        write(&mut db, &[entry(Write::Put(one)), entry(Write::Refuse(one, one.expires))]).await.unwrap();
        assert_eq!(list(&mut db).await.unwrap()[0].mac, MacAddr::new([0; 6]));
        assert_eq!(write(&mut db, &[entry(Write::Put(two))]).await.unwrap().len(), 1);
        sqlx::query("update lease set expires = now() - interval '1 s'").execute(&mut *db).await.unwrap();
        assert_eq!(write(&mut db, &[entry(Write::Put(two))]).await.unwrap(), []);
        sqlx::query("update lease set expires = now() - interval '8 days'").execute(&mut *db).await.unwrap();
        clean(&mut db).await.unwrap();
        let left: i64 = sqlx::query_scalar("select count(*) from lease").fetch_one(&mut *db).await.unwrap();
        assert_eq!(left, 0);
    }
}
