//! The OpenAPI documents of the three APIs, checked against the services by schemathesis: no 5xx, and no answer
//! that the document does not tell of.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use domain::Service;
use tests::{Head, HeadOptions, Net, Node, lab, node};

/// Where `image/prepare` puts it.
const PLACE: &str = "/usr/local/lib/schemathesis/bin/schemathesis";
/// Cases for each operation and each phase; `all` is what a night is for.
const EXAMPLES: [(&str, &str); 2] = [("ci", "8"), ("all", "200")];
/// What does not end, or is not for everybody's eyes: followers of the feed.
const FEED: &str = "^/(snapshot|changes)$";
/// Longest run of one document.
const RUN_MAX: [(&str, Duration); 2] = [("ci", Duration::from_secs(120)), ("all", Duration::from_secs(3600))];

/// The checks that are left out, each with its reason.
const LEFT_OUT: [&str; 4] = [
    // What a schema cannot say: that an xname has its grammar, that a member must be there before its group.
    "positive_data_acceptance",
    // As recorded, what is not known is passed over: other parameters, other members, other content types.
    "negative_data_rejection",
    // As recorded, a seed's parts are there for every name, empty for one that is not known any more.
    "use_after_free",
    // A controller's secret is refused to everybody who comes this way, with or without a token.
    "missing_required_header",
];

fn by_count<T: Copy>(table: &[(&str, T); 2]) -> T {
    let all = tests::program::is_whole();
    table[usize::from(all)].1
}

/// Runs schemathesis on a service's document, through the gateway with an administrator's token, so that it also finds
/// what answers without one; what it found.
async fn check(head: &Head, folder: &Path, service: Service) -> anyhow::Result<Option<String>> {
    ensure!(Path::new(PLACE).is_file(), "{PLACE} is not here; run image/prepare test");
    let port = head.address(Service::Gateway, "tls").context("the gateway's port")?.port();
    let base = format!("https://localhost:{port}/services/{service}");
    let token = head.token().await?.context("auth gives no token")?;
    // Neither in its arguments nor in its environment.
    let config = folder.join("schemathesis.toml");
    std::fs::write(&config, format!("headers = {{ Authorization = \"Bearer {token}\" }}\n"))?;
    let mut command = tokio::process::Command::new(PLACE);
    command
        .arg("--config-file")
        .arg(config)
        .args(["run", &format!("{base}/pilothouse/v1/openapi.json"), "--url", &base, "--tls-verify"])
        .arg(head.root_certificate().await?.context("ca has no root")?)
        .args(["--checks", "all", "--exclude-checks", &LEFT_OUT.join(","), "--exclude-path-regex", FEED])
        .args(["--max-examples", by_count(&EXAMPLES), "--workers", "1", "--continue-on-failure"])
        .args(["--request-timeout", "20", "--warnings", "off", "--no-color", "--max-failures", "40"])
        .args(["--generation-deterministic", "--suppress-health-check", "all"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(by_count(&RUN_MAX), command.output());
    let output = output.await.with_context(|| format!("{service}: schemathesis takes too long"))?;
    let output = output.context("run schemathesis")?;
    let text = [output.stdout, output.stderr].map(|it| String::from_utf8_lossy(&it).into_owned()).concat();
    Ok((!output.status.success()).then(|| format!("{service}:\n{text}\n{}", head.tails(10))))
}

#[test]
fn the_documents_of_the_three_apis_are_true() {
    lab::test("schema::the_documents_of_the_three_apis_are_true", async |folder| {
        // Of the lab only the loopback interface is used.
        let _net = Net::up(&folder)?;
        let head = Head::start(HeadOptions::default()).await?;
        head.pilotctl(
            &["nodes", "import", "--inventory-only", "-"],
            &node::nodes_yaml(&[1, 2, 3].map(Node::demo)),
        )?;
        let mut found = String::new();
        for service in [Service::Inventory, Service::Boot, Service::CloudInit] {
            found.extend(check(&head, &folder, service).await?);
        }
        ensure!(found.is_empty(), "{found}");
        ensure!(head.fallen().is_none(), "{:?}", head.fallen());
        head.shut_down().await
    });
}
