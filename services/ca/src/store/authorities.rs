//! Roots, intermediates, a site's.

use sqlx::PgTransaction;
use sqlx::types::time::OffsetDateTime;

use crate::authority::{Cross, SealedAuthority, Site};

/// Keeps two heads that start at once from making a root each.
pub(crate) async fn lock_authorities(tx: &mut PgTransaction<'_>) -> sqlx::Result<()> {
    sqlx::query("lock table authority in share row exclusive mode").execute(&mut **tx).await.map(drop)
}

type Row = (String, String, Vec<String>, Vec<u8>, Vec<u8>, OffsetDateTime, OffsetDateTime);

pub(crate) async fn list_authorities(tx: &mut PgTransaction<'_>) -> sqlx::Result<Vec<SealedAuthority>> {
    let rows: Vec<Row> = sqlx::query_as(
        "select id, root, constraints, certificate, sealed, not_before, not_after
         from authority order by not_before, id",
    )
    .fetch_all(&mut **tx)
    .await?;
    let parse = |(id, root, constraints, certificate, sealed, not_before, not_after): Row| SealedAuthority {
        id,
        root,
        constraints,
        certificate,
        sealed,
        not_before,
        not_after,
    };
    Ok(rows.into_iter().map(parse).collect())
}

pub(crate) async fn insert_authority(tx: &mut PgTransaction<'_>, new: &SealedAuthority) -> sqlx::Result<()> {
    sqlx::query(
        "insert into authority (id, kind, root, constraints, certificate, sealed, not_before, not_after)
         values ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(&new.id)
    .bind(if new.is_root() { "root" } else { "intermediate" })
    .bind(&new.root)
    .bind(&new.constraints)
    .bind(&new.certificate)
    .bind(&new.sealed)
    .bind(new.not_before)
    .bind(new.not_after)
    .execute(&mut **tx)
    .await
    .map(drop)
}

type CrossRow = (String, String, String, Vec<u8>, OffsetDateTime, OffsetDateTime);

pub(crate) async fn list_crosses(tx: &mut PgTransaction<'_>) -> sqlx::Result<Vec<Cross>> {
    let rows: Vec<CrossRow> = sqlx::query_as(
        "select id, subject, issuer, certificate, not_before, not_after
         from cross_certificate order by not_before, id",
    )
    .fetch_all(&mut **tx)
    .await?;
    let parse = |(id, subject, issuer, certificate, not_before, not_after): CrossRow| Cross {
        id,
        subject,
        issuer,
        certificate,
        not_before,
        not_after,
    };
    Ok(rows.into_iter().map(parse).collect())
}

pub(crate) async fn insert_cross(tx: &mut PgTransaction<'_>, new: &Cross) -> sqlx::Result<()> {
    sqlx::query(
        "insert into cross_certificate (id, subject, issuer, certificate, not_before, not_after)
         values ($1, $2, $3, $4, $5, $6)",
    )
    .bind(&new.id)
    .bind(&new.subject)
    .bind(&new.issuer)
    .bind(&new.certificate)
    .bind(new.not_before)
    .bind(new.not_after)
    .execute(&mut **tx)
    .await
    .map(drop)
}

type SiteRow = (String, Vec<u8>, Vec<u8>, OffsetDateTime, Vec<Vec<u8>>, Option<OffsetDateTime>);

pub(crate) async fn list_sites(tx: &mut PgTransaction<'_>) -> sqlx::Result<Vec<Site>> {
    let rows: Vec<SiteRow> = sqlx::query_as(
        "select id, request, sealed, made, chain, usable_from from site_authority order by made, id",
    )
    .fetch_all(&mut **tx)
    .await?;
    let parse = |(id, request, sealed, made, chain, usable_from): SiteRow| Site {
        id,
        request,
        sealed,
        made,
        chain,
        usable_from,
    };
    Ok(rows.into_iter().map(parse).collect())
}

pub(crate) async fn insert_site(tx: &mut PgTransaction<'_>, new: &Site) -> sqlx::Result<()> {
    sqlx::query("insert into site_authority (id, request, sealed, made) values ($1, $2, $3, $4)")
        .bind(&new.id)
        .bind(&new.request)
        .bind(&new.sealed)
        .bind(new.made)
        .execute(&mut **tx)
        .await
        .map(drop)
}

/// Keeps the chain that answers a request.
pub(crate) async fn update_site(tx: &mut PgTransaction<'_>, site: &Site) -> sqlx::Result<()> {
    sqlx::query("update site_authority set chain = $2, usable_from = $3 where id = $1")
        .bind(&site.id)
        .bind(&site.chain)
        .bind(site.usable_from)
        .execute(&mut **tx)
        .await
        .map(drop)
}

/// Forgets requests without an answer, but for the newest.
pub(crate) async fn delete_waiting_sites(tx: &mut PgTransaction<'_>, keep: usize) -> sqlx::Result<()> {
    sqlx::query(
        "delete from site_authority where id in (
             select id from site_authority where usable_from is null order by made desc, id offset $1)",
    )
    .bind(i64::try_from(keep).unwrap_or(i64::MAX))
    .execute(&mut **tx)
    .await
    .map(drop)
}
