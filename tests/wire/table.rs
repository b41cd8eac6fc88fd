//! The table of routes and rights, `docs/rights.md`: made by asking every route of every service, and walked with
//! every kind of token. `PILOTHOUSE_WRITE=docs cargo test -p tests --test wire table` writes it anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};
use domain::{Scope, Service};
use serde_json::{Value, json};
use tests::head::Trusted;
use tests::replay::{AUDIENCE, ISSUER, Keys};
use tests::{Head, HeadOptions, Net, lab, program};

/// A user without any right on the head: `nobody`.
const STRANGER: u32 = 65534;
/// Where the table is kept.
const PLACE: &str = "docs/rights.md";
/// Longest wait for one answer, in seconds.
const ANSWER_MAX: &str = "10";

/// What looks at who asks only once it has read what they bring: a signature, a password, an address, a nonce.
const BY_CALLER: [(&str, &str); 13] = [
    ("auth", "POST /api/login"),
    ("auth", "DELETE /pilothouse/v1/node-tokens/"),
    ("auth", "POST /oauth2/authorize"),
    ("auth", "POST /pilothouse/v1/node-tokens"),
    ("auth", "POST /pilothouse/v1/tokens"),
    ("boot", "POST /phone-home"),
    ("ca", "POST /acme/"),
    ("ca", "POST /pilothouse/v1/head-certificate"),
    ("cloud-init", "GET /cloud-init/meta-data"),
    ("cloud-init", "GET /cloud-init/user-data"),
    ("cloud-init", "GET /cloud-init/vendor-data"),
    ("join", "POST /join/"),
    ("join", "GET /join/"),
];

/// A route of a service, `GET /path`.
type Route = (Service, String);

/// What a route asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Right {
    /// Nothing.
    Open,
    /// This scope.
    Scope(Scope),
    /// Who it is decides, not what they may.
    Own,
}

/// An answer.
#[derive(Clone, Debug)]
struct Answer {
    status: u16,
    body: String,
}

struct Walk {
    head: Head,
    folder: PathBuf,
    routes: BTreeSet<Route>,
    secret: String,
}

#[test]
fn every_route_asks_for_what_the_table_says() {
    lab::test("table::every_route_asks_for_what_the_table_says", async |folder| {
        // Of the lab only the loopback interface is used.
        let _net = Net::up(&folder)?;
        let keys = Keys::generate()?;
        let (issuer, audience) = (ISSUER.to_owned(), AUDIENCE.to_owned());
        let trusted = vec![Trusted { issuer, audience, jwks: keys.jwks().to_string() }];
        let head = Head::start(HeadOptions { trusted, ..HeadOptions::default() }).await?;
        let mut walk = Walk { head, folder, routes: BTreeSet::new(), secret: String::new() };
        walk.list().await?;
        walk.make_client().await?;
        let rights = walk.learn()?;
        walk.refuse(&rights, &keys)?;
        walk.allow(&rights)?;
        ensure!(walk.head.fallen().is_none(), "{:?}", walk.head.fallen());
        compare(&rights)?;
        walk.head.shut_down().await
    });
}

impl Walk {
    /// What each service says that it answers, and what its document says that is behind a fallback.
    async fn list(&mut self) -> anyhow::Result<()> {
        for service in Service::ALL {
            let client = self.head.client(service);
            let told: Vec<String> = client.get("/pilothouse/v1/routes").await.context("list the routes")?;
            self.routes.extend(told.into_iter().map(|it| (service, it)));
            let Ok(document) = client.get::<Value>("/pilothouse/v1/openapi.json").await else { continue };
            for (path, item) in document["paths"].as_object().into_iter().flatten() {
                let methods = item.as_object().into_iter().flatten().map(|it| it.0.to_uppercase());
                let methods = methods.filter(|it| !matches!(it.as_str(), "PARAMETERS" | "SUMMARY"));
                self.routes.extend(methods.map(|method| (service, format!("{method} {path}"))));
            }
        }
        ensure!(self.routes.len() > 100, "only these routes are told: {:?}", self.routes);
        Ok(())
    }

    /// A client of auth that may have any right.
    async fn make_client(&mut self) -> anyhow::Result<()> {
        let new = json!({"id": "walker", "role": "admin"});
        let auth = self.head.client(Service::Auth);
        let made: Value = auth.call(http::Method::POST, "/pilothouse/v1/clients", Some(&new)).await?;
        self.secret = made["secret"].as_str().context("the new client's secret")?.to_owned();
        Ok(())
    }

    /// A token with these rights alone.
    fn token(&self, scopes: &[Scope]) -> anyhow::Result<String> {
        if scopes == [Scope::Node] {
            let join = Service::ALL.into_iter().find(|it| it.name() == "join").context("the service join")?;
            let body = r#"data = "{\"xname\":\"x1000c1s7b1n0\",\"seconds\":600}""#;
            let ask = format!("url = \"http://localhost/pilothouse/v1/node-tokens\"\n{body}\n");
            return self.given(join.uid(), &ask);
        }
        let words: Vec<String> = scopes.iter().map(ToString::to_string).collect();
        let form = format!("grant_type=client_credentials&scope={}", words.join("+"));
        let ask = format!(
            "url = \"http://localhost/oauth2/token\"\nuser = \"walker:{}\"\ndata = \"{form}\"\n",
            self.secret
        );
        self.given(STRANGER, &ask)
    }

    fn given(&self, uid: u32, ask: &str) -> anyhow::Result<String> {
        let text = self.curl(Service::Auth, uid, ask)?;
        let answer: Value = serde_json::from_str(&text).with_context(|| format!("no token: {text}"))?;
        Ok(answer["access_token"].as_str().with_context(|| format!("no token: {text}"))?.to_owned())
    }

    /// Runs curl on a service's socket as this user, told by a file, so that no secret is in its arguments.
    fn curl(&self, service: Service, uid: u32, config: &str) -> anyhow::Result<String> {
        let file = self.folder.join("curl.config");
        let socket = self.head.sockets().join(format!("{service}.sock"));
        // What holds for one request does not hold for the next.
        let each = format!("silent\npath-as-is\nunix-socket = \"{}\"\n", socket.display());
        let config = config.replace("\nnext\n", &format!("\nnext\n{each}"));
        std::fs::write(&file, format!("{each}{config}"))?;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644))?;
        let uid = uid.to_string();
        let mut command = Command::new(program::find("setpriv", "util-linux")?);
        command.args(["--reuid", &uid, "--regid", &uid, "--clear-groups", "--"]);
        command.arg(program::find("curl", "curl")?).arg("--config").arg(&file);
        let output = command.stdin(Stdio::null()).output().context("run curl")?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Asks each of these routes, with this token or none.
    fn ask(&self, routes: &[&Route], token: Option<&str>) -> anyhow::Result<BTreeMap<Route, Answer>> {
        let mut answers = BTreeMap::new();
        for service in Service::ALL {
            let own: Vec<&&Route> = routes.iter().filter(|it| it.0 == service).collect();
            if own.is_empty() {
                continue;
            }
            let mut config = String::new();
            for (_, route) in &own {
                let (method, path) = route.split_once(' ').context("a route is a method and a path")?;
                let path = path.split('/').map(|it| if it.starts_with('{') { "x" } else { it });
                let path = path.collect::<Vec<_>>().join("/");
                writeln!(config, "next\nrequest = \"{method}\"\nurl = \"http://localhost{path}\"")?;
                writeln!(config, "max-time = {ANSWER_MAX}\nwrite-out = \"\\n@@ %{{http_code}}\\n\"")?;
                if let Some(token) = token {
                    writeln!(config, "header = \"Authorization: Bearer {token}\"")?;
                }
            }
            let text = self.curl(service, STRANGER, config.trim_start_matches("next\n"))?;
            let mut rest = text.as_str();
            for route in own {
                let (body, after) =
                    rest.split_once("\n@@ ").with_context(|| format!("no answer to {route:?}"))?;
                let (status, after) = after.split_once('\n').unwrap_or((after, ""));
                let status = status.parse().with_context(|| format!("{route:?}: {status}"))?;
                ensure!(status != 0, "{route:?} was not answered");
                answers.insert((**route).clone(), Answer { status, body: body.to_owned() });
                rest = after;
            }
        }
        Ok(answers)
    }

    /// What each route asks of somebody with a token that has one right, then another.
    fn learn(&self) -> anyhow::Result<BTreeMap<Route, Right>> {
        let all: Vec<&Route> = self.routes.iter().collect();
        let by_caller = |(service, route): &Route| {
            BY_CALLER.iter().any(|it| it.0 == service.name() && route.starts_with(it.1))
        };
        let first = |it: &&Route| ((*it).clone(), if by_caller(it) { Right::Own } else { Right::Open });
        let mut rights: BTreeMap<Route, Right> = all.iter().map(first).collect();
        for scope in [Scope::MetricsRead, Scope::Read(Service::Ca)] {
            for (route, answer) in self.ask(&all, Some(&self.token(&[scope])?))? {
                let right = match answer.status {
                    403 => lacked(&answer.body).map_or(Right::Own, Right::Scope),
                    401 => Right::Own,
                    _ => continue,
                };
                rights.insert(route, right);
            }
        }
        Ok(rights)
    }

    /// Without a token, with a bad one, and with every right but the one.
    fn refuse(&self, rights: &BTreeMap<Route, Right>, keys: &Keys) -> anyhow::Result<()> {
        let guarded: Vec<&Route> =
            rights.iter().filter(|it| matches!(it.1, Right::Scope(_))).map(|it| it.0).collect();
        let (expired, audience) = (keys.mint("expired")?, keys.mint("wrongaud")?);
        for (kind, token) in [("none", None), ("expired", Some(expired)), ("audience", Some(audience))] {
            for (route, answer) in self.ask(&guarded, token.as_deref())? {
                ensure!(answer.status == 401, "{kind}: {route:?} answers {answer:?}");
            }
        }
        for (scope, routes) in by_scope(rights) {
            let others: Vec<Scope> =
                Scope::ALL.into_iter().filter(|it| *it != scope && *it != Scope::Node).collect();
            for (route, answer) in self.ask(&routes, Some(&self.token(&others)?))? {
                ensure!(answer.status == 403, "all but {scope}: {route:?} answers {answer:?}");
            }
        }
        Ok(())
    }

    /// With the one right.
    fn allow(&self, rights: &BTreeMap<Route, Right>) -> anyhow::Result<()> {
        for (scope, routes) in by_scope(rights) {
            for (route, answer) in self.ask(&routes, Some(&self.token(&[scope])?))? {
                let refused = answer.status == 401 || lacked(&answer.body).is_some();
                ensure!(!refused, "{scope} alone: {route:?} answers {answer:?}");
            }
        }
        Ok(())
    }
}

/// The right that a refusal names.
fn lacked(body: &str) -> Option<Scope> {
    let word = body.split_once("lacks the right ")?.1;
    word.split([';', ' ', '"', '\n']).next()?.parse().ok()
}

fn by_scope(rights: &BTreeMap<Route, Right>) -> BTreeMap<Scope, Vec<&Route>> {
    let mut grouped: BTreeMap<Scope, Vec<&Route>> = BTreeMap::new();
    for (route, right) in rights {
        if let Right::Scope(scope) = right {
            grouped.entry(*scope).or_default().push(route);
        }
    }
    grouped
}

/// The table as the docs have it.
fn table(rights: &BTreeMap<Route, Right>) -> String {
    let mut text = String::from(
        "# Who may do what\n\n\
         Made from the services' code by the test `table` of `tests/wire`, which asks every route without a token, \
         with an expired one,\none for another audience, one with every right but the route's, and one with that \
         right alone. After a change of routes:\n`PILOTHOUSE_WRITE=docs cargo test -p tests --test wire table`.\n\n\
         A viewer has every `:read` and `metrics:read`; an operator also `power:control`, `console:attach` and \
         `discovery:run`;\nan administrator also every `:write`. `open` asks for nothing; `by caller` looks at who asks (a service, a \
         node by its address or its token,\na person's password, a client's secret), not at rights. Through the \
         gateway a service's own paths are below\n`/services/<service>`; `/snapshot` and `/changes` are not.\n",
    );
    let mut last = None;
    for ((service, route), right) in rights {
        if last != Some(service) {
            let title = service.name();
            text.push_str(&format!("\n## {title}\n\n| method | path | right |\n| --- | --- | --- |\n"));
            last = Some(service);
        }
        let right = match right {
            Right::Open => "open".to_owned(),
            Right::Own => "by caller".to_owned(),
            Right::Scope(scope) => format!("`{scope}`"),
        };
        let (method, path) = route.split_once(' ').unwrap_or((route, ""));
        text.push_str(&format!("| {method} | `{path}` | {right} |\n"));
    }
    text
}

fn compare(rights: &BTreeMap<Route, Right>) -> anyhow::Result<()> {
    let (made, place) = (table(rights), program::top().join(PLACE));
    if std::env::var("PILOTHOUSE_WRITE").is_ok_and(|it| it == "docs") {
        std::fs::create_dir_all(place.parent().unwrap_or(Path::new("/")))?;
        return std::fs::write(&place, made).with_context(|| format!("write {}", place.display()));
    }
    let kept = std::fs::read_to_string(&place).with_context(|| format!("read {}", place.display()))?;
    let differ = |one: &str, other: &str| -> Vec<String> {
        let other: BTreeSet<&str> = other.lines().collect();
        one.lines().filter(|it| !other.contains(it)).map(str::to_owned).collect()
    };
    if kept != made {
        bail!(
            "{PLACE} is not what the services do; PILOTHOUSE_WRITE=docs writes it anew.\nmissing: {:#?}\ntoo much: {:#?}",
            differ(&made, &kept),
            differ(&kept, &made)
        );
    }
    Ok(())
}
