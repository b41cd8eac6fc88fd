//! http-01: the key authorization at a well-known path over plain HTTP.

use axum::body::Body;
use axum::http::{Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;

use super::{Missed, Probe, Proof, wrong};
use crate::api::acme::AcmeProblem;
use crate::model::{Identifier, Policy};

/// How often a client may be sent elsewhere.
const REDIRECTS_MAX: usize = 3;
/// The longest answer; a key authorization has some ninety octets.
const ANSWER_MAX: usize = 4096;

pub(super) async fn look(probe: &Probe, proof: &Proof, policy: &Policy) -> Result<(), Missed> {
    let port = probe.settings.http_port;
    let mut host = proof.identifier.clone();
    let mut path = format!("/.well-known/acme-challenge/{}", proof.token);
    for _ in 0..=REDIRECTS_MAX {
        let response = get(probe, &host, proof.is_head, &path).await?;
        if response.status().is_redirection() {
            let target = response.headers().get(header::LOCATION).and_then(|it| it.to_str().ok());
            (host, path) = follow(target.unwrap_or_default(), &host, port, policy)?;
            continue;
        }
        if response.status() != StatusCode::OK {
            let detail = format!("http://{}{path} answers {}", host.value(), response.status());
            return Err(wrong("unauthorized", detail));
        }
        let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
        let body =
            body.map_err(|_| wrong("unauthorized", "the answer is too long or broke off".to_owned()))?;
        let text = body.to_bytes();
        if text.trim_ascii_end() == proof.authorization.as_bytes() {
            return Ok(());
        }
        let shown: String = String::from_utf8_lossy(&text).chars().take(80).collect();
        let detail = format!("http://{}{path} answers {shown:?}, not the key authorization", host.value());
        return Err(wrong("incorrectResponse", detail));
    }
    Err(wrong("unauthorized", format!("more than {REDIRECTS_MAX} redirections")))
}

async fn get(
    probe: &Probe,
    host: &Identifier,
    is_head: bool,
    path: &str,
) -> Result<Response<Incoming>, Missed> {
    let port = probe.settings.http_port;
    let stream = probe.connect(host, is_head, port).await?;
    let broken = |error: &dyn std::fmt::Display| {
        Missed::Silent(AcmeProblem::bad("connection", format!("http://{}: {error}", host.value())))
    };
    let connection = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = connection.map_err(|it| broken(&it))?;
    // Ends with the answer, or when this look is given up and the sender is dropped.
    tokio::spawn(connection);
    let shown = if port == 80 { authority(host) } else { format!("{}:{port}", authority(host)) };
    let request = Request::get(path)
        .header(header::HOST, shown)
        .header(header::USER_AGENT, "pilothouse-ca")
        .header(header::CONNECTION, "close");
    let request = request.body(Body::empty()).map_err(|it| broken(&it))?;
    sender.send_request(request).await.map_err(|it| broken(&it))
}

fn authority(host: &Identifier) -> String {
    match host {
        Identifier::Ip(address) if address.is_ipv6() => format!("[{address}]"),
        other => other.value(),
    }
}

/// Where a redirection leads: over plain HTTP, to the same port, to a host that is none of the head's and that
/// certificates are made for.
fn follow(
    target: &str,
    host: &Identifier,
    port: u16,
    policy: &Policy,
) -> Result<(Identifier, String), Missed> {
    let refused =
        |why: &str| wrong("unauthorized", format!("{} redirects to {target:?}, {why}", host.value()));
    let uri: Uri = target.parse().map_err(|_| refused("which is no URL"))?;
    let path = uri.path_and_query().map_or("/", |it| it.as_str()).to_owned();
    let Some(next) = uri.host() else {
        let is_path = target.starts_with('/') && !target.starts_with("//");
        return if is_path { Ok((host.clone(), path)) } else { Err(refused("which is no URL")) };
    };
    if uri.scheme_str() != Some("http") || uri.port_u16().unwrap_or(80) != port {
        return Err(refused("which is not plain HTTP at the port of http-01"));
    }
    let next = next.trim_matches(['[', ']']);
    let kind = if next.parse::<std::net::IpAddr>().is_ok() { "ip" } else { "dns" };
    let next = Identifier::parse(kind, next).map_err(|_| refused("which names no host"))?;
    if next != *host && (policy.is_head(&next) || !policy.allows(&next)) {
        return Err(refused("where nothing is looked for"));
    }
    Ok((next, path))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::follow;
    use crate::model::{Identifier, test_policy};

    #[test]
    fn a_redirection_leads_to_allowed_machines_alone() {
        let policy = test_policy("");
        let host = Identifier::parse("dns", "nid001.openchami.cluster").unwrap();
        let go =
            |target: &str| follow(target, &host, 80, &policy).ok().map(|(host, path)| (host.value(), path));
        let to = |host: &str, path: &str| Some((host.to_owned(), path.to_owned()));
        assert_eq!(go("/a?b=c"), to("nid001.openchami.cluster", "/a?b=c"));
        assert_eq!(go("http://nid002.openchami.cluster/x"), to("nid002.openchami.cluster", "/x"));
        assert_eq!(go("http://172.16.0.9:80/x"), to("172.16.0.9", "/x"));
        for target in [
            "https://nid001.openchami.cluster/x",
            "http://nid001.openchami.cluster:8080/x",
            "http://evil.example/x",
            "http://localhost/x",
            "http://127.0.0.1/x",
            "http://172.16.0.254/x",
            "http://169.254.169.254/x",
            "file:///etc/passwd",
            "//nid002.openchami.cluster/x",
            "x",
            "",
        ] {
            assert_eq!(go(target), None, "{target}");
        }
    }
}
