//! The token: from the command line or the cluster's variable, looked at before it is used. Its signature is
//! the services' business.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::Session;
use super::error::{Done, Stop};
use super::http::Token;
use super::log;

/// Below this it is worth a word, in seconds.
const SOON: i64 = 15 * 60;

/// The token of a command's requests; None if they carry none.
pub(super) fn find(session: &Session) -> Result<Option<Token>, Stop> {
    if session.global.no_token {
        log::debug("no token is used, as asked for");
        return Ok(None);
    }
    let token = match (&session.global.token, session.config.cluster(session.global.cluster.as_deref())) {
        (Some(token), _) => token.clone(),
        (None, Err(stop)) => return Err(stop),
        (None, Ok(None)) => return Ok(None),
        (None, Ok(Some(cluster))) if !cluster.wants_token() => {
            log::debug(format!("the cluster {} wants no token", cluster.name));
            return Ok(None);
        }
        (None, Ok(Some(cluster))) => {
            let variable = cluster.variable();
            log::debug(format!("the token is in {variable}"));
            let advice = || {
                let name = cluster.name;
                Stop::failed(format!(
                    "no token for the cluster {name:?}; export {variable}=$(gen_access_token)"
                ))
            };
            std::env::var(&variable).ok().filter(|it| !it.is_empty()).ok_or_else(advice)?.into()
        }
    };
    check(token.reveal(), time::OffsetDateTime::now_utc().unix_timestamp())?;
    Ok(Some(token))
}

/// Whether a token can be good now.
fn check(token: &str, now: i64) -> Done {
    if token.is_empty() {
        return Err(Stop::failed("the token is empty"));
    }
    let fail = || Stop::failed("what was given as a token is none");
    let parts: Vec<&str> = token.split('.').collect();
    let [_, claims, _] = parts[..] else { return Err(fail()) };
    let claims = URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).map_err(|it| fail().because(it))?;
    let claims: Value = serde_json::from_slice(&claims).map_err(|it| fail().because(it))?;
    let seconds = |name: &str| match &claims[name] {
        Value::Null => Ok(None),
        #[expect(clippy::cast_possible_truncation, reason = "seconds since 1970 are far from its bounds")]
        it => {
            it.as_f64().map(|it| Some(it as i64)).ok_or_else(|| fail().because(format!("{name} is no time")))
        }
    };
    match seconds("exp")? {
        Some(end) if end <= now => {
            return Err(Stop::failed(format!(
                "the token has expired {} s ago; get another by gen_access_token on the head, \
                 by pilotctl token elsewhere",
                now - end
            )));
        }
        Some(end) if end - now <= SOON => log::warning(format!("the token expires in {} s", end - now)),
        _ => {}
    }
    match seconds("nbf")? {
        Some(start) if start > now => {
            Err(Stop::failed(format!("the token is not good for another {} s", start - now)))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use serde_json::json;

    use super::check;

    #[test]
    fn a_token_is_looked_at_before_it_is_used() {
        let token = |claims: serde_json::Value| {
            format!("e30.{}.sig", super::URL_SAFE_NO_PAD.encode(claims.to_string()))
        };
        let now = 1_000_000;
        for good in
            [json!({}), json!({"exp": now + 1}), json!({"exp": now + 7200, "nbf": now, "iat": now + 5})]
        {
            check(&token(good), now).expect("a good token");
        }
        for (bad, says) in [
            (token(json!({"exp": now})), "expired"),
            (token(json!({"nbf": now + 1})), "not good"),
            (token(json!({"exp": "soon"})), "none"),
            (String::new(), "empty"),
            ("abc".to_owned(), "none"),
            ("a.b.c.d".to_owned(), "none"),
            ("a.!.c".to_owned(), "none"),
        ] {
            let stop = check(&bad, now).expect_err("a bad token");
            assert!(stop.message.contains(says), "{stop:?}");
        }
    }
}
