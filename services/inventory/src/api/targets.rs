//! The nodes as Prometheus finds its targets over HTTP (`http_sd_configs`): a list of `targets` with `labels`.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use axum::extract::State;
use serde::{Deserialize, Serialize};
use web::{Json, Query};

use super::App;
use crate::client::Node;
use crate::model::node::show as node_of;

/// Where Prometheus' node exporter listens.
const NODE_EXPORTER: u16 = 9100;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TargetsQuery {
    /// Where the nodes' exporter listens.
    #[serde(default = "node_exporter")]
    port: u16,
    /// Nodes of this group alone.
    group: Option<String>,
}

fn node_exporter() -> u16 {
    NODE_EXPORTER
}

/// One node.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Target {
    targets: Vec<String>,
    labels: BTreeMap<&'static str, String>,
}

/// Every node that takes part and has an address.
pub(super) async fn list(State(app): State<App>, Query(query): Query<TargetsQuery>) -> Json<Vec<Target>> {
    let nodes: Vec<Node> = app.store.catalog.read(|it| {
        let nodes = it.inventory.components().filter(|it| it.id.is_node());
        nodes.map(|one| node_of(&it.inventory, one, &app.host_pattern)).collect()
    });
    let fits = |it: &Node| {
        it.enabled && query.group.as_ref().is_none_or(|group| it.groups.iter().any(|it| it == group))
    };
    Json(nodes.iter().filter(|it| fits(it)).filter_map(|it| target(it, query.port)).collect())
}

fn target(node: &Node, port: u16) -> Option<Target> {
    let mut addresses =
        node.interfaces.iter().flat_map(|it| &it.ips).filter_map(|it| it.parse::<IpAddr>().ok());
    let address = SocketAddr::new(addresses.next()?, port);
    // What begins with `__` is for relabelling, and is not stored.
    let labels = BTreeMap::from([
        ("node", node.name.clone()),
        ("xname", node.xname.to_string()),
        ("__meta_pilothouse_nid", node.nid.map(|it| it.to_string()).unwrap_or_default()),
        // With commas around each, as Prometheus' other discoveries have lists.
        ("__meta_pilothouse_groups", format!(",{},", node.groups.join(","))),
    ]);
    Some(Target { targets: vec![address.to_string()], labels })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use crate::client::Node;

    use super::target;

    #[test]
    fn a_node_without_an_address_is_no_target() {
        let node = |ips: &str| -> Node {
            let text = format!(
                r#"{{"xname": "x0c0s1b0n0", "name": "nid001", "nid": 1, "groups": ["compute", "io"], "bmc": null,
                    "interfaces": [{{"mac": "52:54:00:10:00:01", "ips": {ips}}}], "state": null, "enabled": true}}"#
            );
            serde_json::from_str(&text).unwrap()
        };
        assert_eq!(target(&node("[]"), 9100), None);
        let shown = serde_json::to_value(target(&node(r#"["", "fd00::1", "10.0.0.1"]"#), 9400)).unwrap();
        assert_eq!(shown["targets"][0], "[fd00::1]:9400");
        assert_eq!(shown["labels"]["__meta_pilothouse_groups"], ",compute,io,");
    }
}
