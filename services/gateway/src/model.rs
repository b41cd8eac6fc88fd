//! The decisions: which service a path leads to, what passes on, when a certificate is renewed.

mod boot;
mod header;
mod path;
mod renewal;

use domain::Service;

pub(crate) use boot::stage_of;
pub(crate) use header::{Hop, Id};
pub(crate) use path::{PathError, normalise};
pub(crate) use renewal::{Renewal, Validity};

/// One line of the table: paths under `prefix` lead to `service`; `taken_off` of it is not forwarded.
struct Route {
    prefix: &'static str,
    service: Service,
    taken_off: usize,
}

const fn route(prefix: &'static str, service: Service) -> Route {
    Route { prefix, service, taken_off: 0 }
}

/// The path table: the recorded gateway's, then our own. A prefix ends where a segment ends.
const TABLE: [Route; 23] = [
    route("/hsm/v2", Service::Inventory),
    route("/boot/v1", Service::Boot),
    Route { prefix: "/apis/bss", service: Service::Boot, taken_off: "/apis/bss".len() },
    route("/cloud-init", Service::CloudInit),
    route("/cloud-init-secure", Service::CloudInit),
    route("/token", Service::Auth),
    route("/login", Service::Auth),
    route("/browser/login", Service::Auth),
    route("/api/login", Service::Auth),
    route("/oidc/callback", Service::Auth),
    route("/oauth2", Service::Auth),
    route("/.well-known", Service::Auth),
    route("/phone-home", Service::Boot),
    route("/transitions", Service::Power),
    route("/power-status", Service::Power),
    route("/power-cap", Service::Power),
    route("/liveness", Service::Power),
    route("/readiness", Service::Power),
    route("/health", Service::Power),
    route("/remote-console", Service::Console),
    route("/acme", Service::Ca),
    route("/crl", Service::Ca),
    route("/join", Service::Join),
];

/// What every service answers under its own name: `/services/dhcp/metrics` is dhcp's `/metrics`.
const SERVICES: &str = "/services/";

/// A service's first path segments that no route leads to: whole tables, for the services alone.
const NEVER_ROUTED: [&str; 2] = ["snapshot", "changes"];

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    /// The service that answers.
    pub(crate) service: Service,
    /// The path as that service knows it.
    pub(crate) path: &'a str,
}

/// Why a request over plain HTTP is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OverHttp {
    /// It carries a token.
    Token,
    /// It asks for what nodes do not need before they know our certificate.
    Path,
}

/// The service behind a normalised path.
pub(crate) fn find_target(path: &str) -> Option<Target<'_>> {
    let (service, rest) = match path.strip_prefix(SERVICES) {
        Some(own) => {
            let end = own.find('/').unwrap_or(own.len());
            (Service::ALL.into_iter().find(|it| it.name() == &own[..end])?, &own[end..])
        }
        None => {
            let route = TABLE.iter().find(|it| is_under(path, it.prefix))?;
            (route.service, &path[route.taken_off..])
        }
    };
    let rest = if rest.is_empty() { "/" } else { rest };
    let first = rest.trim_start_matches('/').split('/').next().unwrap_or_default();
    (!NEVER_ROUTED.contains(&first)).then_some(Target { service, path: rest })
}

/// The service behind a request over plain HTTP: what a node asks for before it has our root certificate.
///
/// # Errors
///
/// Why it has to come over TLS.
pub(crate) fn find_plain_target<'a>(
    method: &str,
    path: &'a str,
    has_token: bool,
    secure_over_http: bool,
) -> Result<Target<'a>, OverHttp> {
    if has_token && !secure_over_http {
        return Err(OverHttp::Token);
    }
    let reads = matches!(method, "GET" | "HEAD");
    if reads && path == "/root.pem" {
        return Ok(Target { service: Service::Ca, path: "/pilothouse/v1/root.pem" });
    }
    let open = if reads {
        matches!(path, "/boot/v1/bootscript" | "/apis/bss/boot/v1/bootscript")
            || path.strip_prefix("/crl/").is_some_and(|it| is_file(it, ".crl"))
            // Whoever reads it has it, so that looking at its head alone is nothing.
            || (method == "GET" && path.strip_prefix("/join/").is_some_and(|it| is_file(it, ".cpio")))
            || path.strip_prefix("/cloud-init/").is_some_and(is_node_data)
            || (secure_over_http && path.strip_prefix("/cloud-init-secure/").is_some_and(is_node_data))
    } else {
        method == "POST" && (is_under(path, "/phone-home") || is_under(path, "/cloud-init/phone-home"))
    };
    if open { find_target(path).ok_or(OverHttp::Path) } else { Err(OverHttp::Path) }
}

/// What cloud-init on a node reads: its data by address, by name, and the parts of its groups.
fn is_node_data(rest: &str) -> bool {
    let is_part = |it| matches!(it, "user-data" | "meta-data" | "vendor-data" | "network-config");
    match rest.split_once('/') {
        None => is_part(rest) || rest.strip_suffix(".yaml").is_some_and(|it| !it.is_empty()),
        Some((name, part)) => !name.is_empty() && name != "admin" && is_part(part),
    }
}

/// A file of this kind, in no folder.
fn is_file(rest: &str, kind: &str) -> bool {
    rest.strip_suffix(kind).is_some_and(|it| !it.is_empty() && !it.contains('/'))
}

fn is_under(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|it| it.is_empty() || it.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use domain::Service;

    use super::{OverHttp, TABLE, Target, find_plain_target, find_target};

    fn found(path: &str) -> Option<(Service, &str)> {
        find_target(path).map(|it| (it.service, it.path))
    }

    #[test]
    fn every_line_of_the_table_leads_to_its_service_and_ends_at_a_segment() {
        for route in &TABLE {
            let below = format!("{}/x", route.prefix);
            for path in [route.prefix, &below] {
                assert_eq!(found(path).map(|it| it.0), Some(route.service), "{path}");
            }
            assert_eq!(found(&format!("{}x", route.prefix)), None);
        }
    }

    #[test]
    fn paths_lead_where_the_contract_says() {
        use Service::{Auth, Boot, Ca, CloudInit, Console, Dhcp, Inventory, Join, Power};
        for (path, service, rest) in [
            ("/hsm/v2/State/Components", Inventory, "/hsm/v2/State/Components"),
            ("/boot/v1/bootscript", Boot, "/boot/v1/bootscript"),
            ("/apis/bss/boot/v1/bootparameters", Boot, "/boot/v1/bootparameters"),
            ("/apis/bss", Boot, "/"),
            ("/cloud-init/", CloudInit, "/cloud-init/"),
            (
                "/cloud-init-secure/x1000c0s0b0n0/user-data",
                CloudInit,
                "/cloud-init-secure/x1000c0s0b0n0/user-data",
            ),
            ("/oauth2/token", Auth, "/oauth2/token"),
            ("/.well-known/jwks.json", Auth, "/.well-known/jwks.json"),
            ("/power-cap/snapshot", Power, "/power-cap/snapshot"),
            ("/remote-console/consoles/nid001", Console, "/remote-console/consoles/nid001"),
            ("/acme/directory", Ca, "/acme/directory"),
            ("/crl/1.crl", Ca, "/crl/1.crl"),
            ("/join/token", Join, "/join/token"),
            ("/services/dhcp/metrics", Dhcp, "/metrics"),
            ("/services/dhcp", Dhcp, "/"),
            ("/services/cloud-init/readyz", CloudInit, "/readyz"),
        ] {
            assert_eq!(found(path), Some((service, rest)), "{path}");
        }
    }

    #[test]
    fn the_rest_is_not_routed_the_feeds_by_no_prefix() {
        for path in [
            "/",
            "/hsm/v1/State/Components",
            "/hsm/v22",
            "/services/",
            "/services/none/x",
            "/services/cloud_init/metrics",
            "/services/inventory/snapshot",
            "/services/inventory/snapshot/",
            "/services/inventory/changes",
            "/apis/bss/snapshot",
            "/apis/bss/changes/",
            "/snapshot",
        ] {
            assert_eq!(found(path), None, "{path}");
        }
    }

    #[test]
    fn over_plain_http_a_node_gets_what_it_boots_with() {
        for path in [
            "/boot/v1/bootscript",
            "/apis/bss/boot/v1/bootscript",
            "/cloud-init/user-data",
            "/cloud-init/meta-data",
            "/cloud-init/vendor-data",
            "/cloud-init/network-config",
            "/cloud-init/compute.yaml",
            "/cloud-init/compute/user-data",
            "/cloud-init/x1000c0s0b0n0/meta-data",
        ] {
            for method in ["GET", "HEAD"] {
                assert!(find_plain_target(method, path, false, false).is_ok(), "{path}");
            }
            assert_eq!(find_plain_target("POST", path, false, false), Err(OverHttp::Path), "{path}");
            assert_eq!(find_plain_target("GET", path, true, false), Err(OverHttp::Token), "{path}");
        }
        for path in ["/phone-home", "/cloud-init/phone-home", "/cloud-init/phone-home/i-1234"] {
            assert!(find_plain_target("POST", path, false, false).is_ok(), "{path}");
        }
        let crl = |method| find_plain_target(method, "/crl/1.crl", false, false).map(|it| it.service);
        assert_eq!((crl("GET"), crl("POST")), (Ok(Service::Ca), Err(OverHttp::Path)));
        let nonce = |method, token| find_plain_target(method, "/join/ece7a705a1fc.cpio", token, false);
        assert_eq!(nonce("GET", false).map(|it| it.service), Ok(Service::Join));
        assert_eq!(nonce("HEAD", false), Err(OverHttp::Path));
        assert_eq!(nonce("GET", true), Err(OverHttp::Token));
        let root = Target { service: Service::Ca, path: "/pilothouse/v1/root.pem" };
        assert_eq!(find_plain_target("GET", "/root.pem", false, false), Ok(root));
    }

    #[test]
    fn over_plain_http_nothing_else_is_open() {
        for path in [
            "/",
            "/hsm/v2/State/Components",
            "/boot/v1/bootparameters",
            "/boot/v1/bootscript/x",
            "/cloud-init/",
            "/cloud-init/admin/groups",
            "/cloud-init/admin/user-data",
            "/cloud-init/compute",
            "/cloud-init/.yaml",
            "/cloud-init/a/b/user-data",
            "/cloud-init-secure/user-data",
            "/services/boot/boot/v1/bootscript",
            "/token",
            "/join/token",
            "/join/tpm/challenge.cpio",
            "/join/.cpio",
            "/crl/",
            "/crl/a/b.crl",
            "/acme/directory",
            "/phone-home",
        ] {
            assert_eq!(find_plain_target("GET", path, false, false), Err(OverHttp::Path), "{path}");
        }
        let secure = |token| find_plain_target("GET", "/cloud-init-secure/user-data", token, true);
        assert!(secure(true).is_ok() && secure(false).is_ok());
        assert_eq!(find_plain_target("GET", "/hsm/v2/groups", true, true), Err(OverHttp::Path));
    }
}
