//! The OpenAPI 3.1 document: one row an operation, the shapes in `openapi/schemas.json`. Tests hold the rows against
//! the router and the shapes against answers.

use domain::{Scope, Service};
use serde_json::{Map, Value, json};
use utoipa::openapi::OpenApi;
use web::openapi::{finish, security};

use super::{READ, WRITE};

/// The shapes of bodies and answers.
pub(super) const SCHEMAS: &str = include_str!("openapi/schemas.json");
const TEXT: &str =
    "The SMD API of OpenCHAMI below /hsm/v2, and what operators do with nodes below /pilothouse/v1.";

/// An operation: method, path, right, what it does, query parameters, the body's shape, the answers' shapes. A path
/// with a parameter may answer 400 and 404, one with a body 400; a shape `-` is no body, `!` a problem.
type Row = (
    &'static str,
    &'static str,
    Option<Scope>,
    &'static str,
    &'static [&'static str],
    &'static str,
    &'static [(&'static str, &'static str)],
);

const R: Option<Scope> = Some(READ);
const W: Option<Scope> = Some(WRITE);
const M: Option<Scope> = Some(Scope::MetricsRead);
const DELETED: &[(&str, &str)] = &[("200", "Deleted"), ("404", "!")];
const DONE: &[(&str, &str)] = &[("204", "-")];
const FILTERS: &[&str] = &[
    "id",
    "type",
    "state",
    "flag",
    "enabled",
    "softwarestatus",
    "role",
    "subrole",
    "arch",
    "class",
    "nid",
    "nid_start",
    "nid_end",
    "group",
    "partition",
    "stateonly",
    "flagonly",
    "roleonly",
    "nidonly",
];
const ENDPOINT_FILTERS: &[&str] =
    &["id", "type", "fqdn", "uuid", "macaddr", "ipaddress", "redfish_ep", "redfish_type"];
const INTERFACE_FILTERS: &[&str] =
    &["MACAddress", "IPAddress", "Network", "ComponentID", "Type", "OlderThan", "NewerThan"];

/// Component paths.
#[rustfmt::skip]
const COMPONENTS: &[Row] = &[
    ("get", "/hsm/v2/State/Components", None, "Components that pass the filters", FILTERS, "", &[("200", "Components"), ("400", "!")]),
    ("post", "/hsm/v2/State/Components", W, "Add components; Force changes those that are there", &[], "NewComponents", DONE),
    ("delete", "/hsm/v2/State/Components", W, "Remove every component", &[], "", DELETED),
    ("post", "/hsm/v2/State/Components/Query", R, "Components of these and all within them", &[], "ComponentQuery", &[("200", "Components")]),
    ("get", "/hsm/v2/State/Components/Query/{xname}", R, "A component, as a list", FILTERS, "", &[("200", "Components")]),
    ("post", "/hsm/v2/State/Components/ByNID/Query", R, "Components of these numbers", &[], "NidQuery", &[("200", "Components")]),
    ("get", "/hsm/v2/State/Components/ByNID/{nid}", R, "The component of a number", &[], "", &[("200", "Component")]),
    ("patch", "/hsm/v2/State/Components/BulkNID", W, "Change numbers", &[], "NidPatches", DONE),
    ("get", "/hsm/v2/State/Components/{xname}", R, "A component", &[], "", &[("200", "Component")]),
    ("put", "/hsm/v2/State/Components/{xname}", W, "Add a component; Force changes one that is there", &[], "NewComponentForce", DONE),
    ("delete", "/hsm/v2/State/Components/{xname}", W, "Remove a component", &[], "", DELETED),
];

/// Redfish endpoints, what they make, and interfaces.
#[rustfmt::skip]
const INVENTORY: &[Row] = &[
    ("get", "/hsm/v2/Inventory/RedfishEndpoints", R, "Controllers that pass the filters", ENDPOINT_FILTERS, "", &[("200", "RedfishEndpoints"), ("400", "!")]),
    ("post", "/hsm/v2/Inventory/RedfishEndpoints", W, "Add controllers with what they control", &[], "NewRedfishEndpoint", &[("201", "Uris"), ("204", "-"), ("409", "!")]),
    ("delete", "/hsm/v2/Inventory/RedfishEndpoints", W, "Remove every controller", &[], "", DELETED),
    ("get", "/hsm/v2/Inventory/RedfishEndpoints/Query/{xname}", R, "Never built, here as there", &[], "", &[("400", "!")]),
    ("get", "/hsm/v2/Inventory/RedfishEndpoints/{xname}", R, "A controller", &[], "", &[("200", "RedfishEndpoint")]),
    ("put", "/hsm/v2/Inventory/RedfishEndpoints/{xname}", W, "Replace or add a controller", &[], "NewRedfishEndpoint", &[("200", "MaybeRedfishEndpoint"), ("409", "!")]),
    ("patch", "/hsm/v2/Inventory/RedfishEndpoints/{xname}", W, "Change a controller", &[], "NewRedfishEndpoint", &[("200", "MaybeRedfishEndpoint"), ("409", "!")]),
    ("delete", "/hsm/v2/Inventory/RedfishEndpoints/{xname}", W, "Remove a controller", &[], "", DELETED),
    ("get", "/hsm/v2/Inventory/ComponentEndpoints", R, "What controllers say of components", ENDPOINT_FILTERS, "", &[("200", "ComponentEndpoints"), ("400", "!")]),
    ("delete", "/hsm/v2/Inventory/ComponentEndpoints", W, "Remove them all", &[], "", DELETED),
    ("get", "/hsm/v2/Inventory/ComponentEndpoints/{xname}", R, "What a controller says of a component", &[], "", &[("200", "ComponentEndpoint")]),
    ("delete", "/hsm/v2/Inventory/ComponentEndpoints/{xname}", W, "Remove it", &[], "", DELETED),
    ("get", "/hsm/v2/Inventory/EthernetInterfaces", None, "Interfaces that pass the filters", INTERFACE_FILTERS, "", &[("200", "EthernetInterfaces"), ("400", "!")]),
    ("post", "/hsm/v2/Inventory/EthernetInterfaces", W, "Add an interface", &[], "NewEthernetInterface", &[("201", "Uri"), ("409", "!")]),
    ("delete", "/hsm/v2/Inventory/EthernetInterfaces", W, "Remove every interface", &[], "", DELETED),
    ("get", "/hsm/v2/Inventory/EthernetInterfaces/{id}", R, "An interface", &[], "", &[("200", "EthernetInterface")]),
    ("patch", "/hsm/v2/Inventory/EthernetInterfaces/{id}", W, "Change an interface", &[], "EthernetInterfacePatch", &[("200", "EthernetInterface")]),
    ("delete", "/hsm/v2/Inventory/EthernetInterfaces/{id}", W, "Remove an interface", &[], "", DELETED),
    ("get", "/hsm/v2/Inventory/EthernetInterfaces/{id}/IPAddresses", R, "The addresses of an interface", &[], "", &[("200", "Addresses")]),
    ("post", "/hsm/v2/Inventory/EthernetInterfaces/{id}/IPAddresses", W, "Add an address", &[], "NewAddress", &[("201", "Uri"), ("409", "!")]),
    ("patch", "/hsm/v2/Inventory/EthernetInterfaces/{id}/IPAddresses/{ip}", W, "Change the network of an address", &[], "AddressPatch", &[("200", "Address")]),
    ("delete", "/hsm/v2/Inventory/EthernetInterfaces/{id}/IPAddresses/{ip}", W, "Remove an address", &[], "", DELETED),
];

/// Groups, memberships and partitions.
#[rustfmt::skip]
const GROUPS: &[Row] = &[
    ("get", "/hsm/v2/groups", R, "Groups", &["group", "tag", "partition"], "", &[("200", "Groups")]),
    ("post", "/hsm/v2/groups", W, "Add a group", &[], "NewGroup", &[("201", "Uris"), ("409", "!")]),
    ("get", "/hsm/v2/groups/labels", R, "The labels of groups", &[], "", &[("200", "Words")]),
    ("get", "/hsm/v2/groups/{label}", R, "A group", &["partition"], "", &[("200", "Group")]),
    ("patch", "/hsm/v2/groups/{label}", W, "Change description or tags", &[], "GroupPatch", DONE),
    ("delete", "/hsm/v2/groups/{label}", W, "Remove a group", &[], "", DELETED),
    ("get", "/hsm/v2/groups/{label}/members", R, "The members of a group", &["partition"], "", &[("200", "Members")]),
    ("post", "/hsm/v2/groups/{label}/members", W, "Add a member", &[], "NewMember", &[("201", "Uris"), ("409", "!")]),
    ("put", "/hsm/v2/groups/{label}/members", W, "Replace all members", &[], "NewMembers", &[("201", "Uris"), ("409", "!")]),
    ("delete", "/hsm/v2/groups/{label}/members/{xname}", W, "Remove a member", &[], "", DELETED),
    ("get", "/hsm/v2/memberships", R, "Components with their groups and partition", FILTERS, "", &[("200", "Memberships"), ("400", "!")]),
    ("get", "/hsm/v2/memberships/{xname}", R, "The groups and the partition of a component", &[], "", &[("200", "Membership")]),
    ("get", "/hsm/v2/partitions", R, "Partitions", &["partition", "tag"], "", &[("200", "Partitions")]),
    ("post", "/hsm/v2/partitions", W, "Add a partition", &[], "NewPartition", &[("201", "Uris"), ("409", "!")]),
    ("get", "/hsm/v2/partitions/names", R, "The names of partitions", &[], "", &[("200", "Words")]),
    ("get", "/hsm/v2/partitions/{name}", R, "A partition", &[], "", &[("200", "Partition")]),
    ("patch", "/hsm/v2/partitions/{name}", W, "Change description or tags", &[], "GroupPatch", DONE),
    ("delete", "/hsm/v2/partitions/{name}", W, "Remove a partition", &[], "", DELETED),
    ("get", "/hsm/v2/partitions/{name}/members", R, "The members of a partition", &["group"], "", &[("200", "Members")]),
    ("post", "/hsm/v2/partitions/{name}/members", W, "Add a member", &[], "NewMember", &[("201", "Uris"), ("409", "!")]),
    ("delete", "/hsm/v2/partitions/{name}/members/{xname}", W, "Remove a member", &[], "", DELETED),
];

/// The service itself, and collections that nothing fills.
#[rustfmt::skip]
const SERVICE: &[Row] = &[
    ("get", "/readyz", None, "From what is answered", &[], "", &[("200", "Anything"), ("503", "Anything")]),
    ("get", "/hsm/v2/service/ready", None, "Whether the database is followed", &[], "", &[("200", "Deleted"), ("503", "!")]),
    ("get", "/hsm/v2/service/liveness", None, "Whether the service runs", &[], "", DONE),
    ("get", "/hsm/v2/service/values", None, "Every vocabulary", &[], "", &[("200", "Values")]),
    ("get", "/hsm/v2/service/values/{name}", None, "A vocabulary", &[], "", &[("200", "Values"), ("404", "text")]),
    ("get", "/hsm/v2/Inventory/ServiceEndpoints", R, "Empty", &[], "", &[("200", "Anything")]),
    ("get", "/hsm/v2/Inventory/Hardware", R, "Empty", &[], "", &[("200", "List")]),
    ("get", "/hsm/v2/Inventory/HardwareByFRU", R, "Empty", &[], "", &[("200", "List")]),
    ("get", "/hsm/v2/Inventory/DiscoveryStatus", R, "Nothing is ever under way", &[], "", &[("200", "List")]),
    ("get", "/hsm/v2/Subscriptions/SCN", R, "Empty", &[], "", &[("200", "Anything")]),
    ("get", "/hsm/v2/sysinfo/powermaps", R, "Empty", &[], "", &[("200", "List")]),
    ("get", "/hsm/v2/Defaults/NodeMaps", R, "Empty", &[], "", &[("200", "Anything")]),
    ("get", "/hsm/v2/locks/status", R, "SMD's locks are none of ours", &[], "", &[("400", "!")]),
];

/// Our own paths.
#[rustfmt::skip]
const OWN: &[Row] = &[
    ("get", "/pilothouse/v1/nodes", R, "Every node", &[], "", &[("200", "Nodes")]),
    ("put", "/pilothouse/v1/nodes", W, "Import a nodes.yaml", &["dry_run"], "yaml", &[("200", "Imported"), ("409", "!")]),
    ("get", "/pilothouse/v1/nodes/{word}", R, "A node, by xname or name", &[], "", &[("200", "Node")]),
    ("patch", "/pilothouse/v1/nodes/{word}", W, "Change a node", &[], "NodePatch", &[("200", "Node"), ("409", "!")]),
    ("delete", "/pilothouse/v1/nodes/{word}", W, "Remove a node with its interfaces", &[], "", &[("204", "-"), ("409", "!")]),
    ("put", "/pilothouse/v1/nodes/{word}/lock", W, "Have a node left alone", &[], "LockRequest", &[("200", "Node"), ("409", "!")]),
    ("delete", "/pilothouse/v1/nodes/{word}/lock", W, "Take the lock away", &[], "", &[("200", "Node"), ("409", "!")]),
    ("put", "/pilothouse/v1/nodes/{word}/board", W, "Put another board in a node's place", &[], "Replacement", &[("200", "Node"), ("409", "!")]),
    ("get", "/pilothouse/v1/bmcs", R, "Every controller", &[], "", &[("200", "Bmcs")]),
    ("get", "/pilothouse/v1/bmcs/{xname}", R, "A controller", &[], "", &[("200", "Bmc")]),
    ("patch", "/pilothouse/v1/bmcs/{xname}", W, "Change how a controller is reached", &[], "BmcPatch", &[("200", "Bmc"), ("409", "!")]),
    ("get", "/pilothouse/v1/bmcs/{xname}/credential", R, "What opens a controller; for power and console on the socket alone", &[], "", &[("200", "Credential"), ("403", "!")]),
    ("put", "/pilothouse/v1/bmcs/{xname}/credential", W, "Replace what opens a controller; for power on the socket alone", &[], "Credential", DONE),
    ("get", "/pilothouse/v1/bmc-credentials", W, "For whom accounts are stored", &[], "", &[("200", "Accounts")]),
    ("put", "/pilothouse/v1/bmc-credentials/{scope}", W, "Store an account: an xname, class:<name> or default", &[], "Credential", DONE),
    ("delete", "/pilothouse/v1/bmc-credentials/{scope}", W, "Forget an account", &[], "", DONE),
    ("get", "/pilothouse/v1/targets", M, "The nodes as Prometheus finds its targets over HTTP", &["port", "group"], "", &[("200", "Targets"), ("400", "!")]),
];

/// The document.
pub(super) fn document() -> serde_json::Result<OpenApi> {
    let mut paths: Map<String, Value> = Map::new();
    let patches = super::PatchKind::ALL.into_iter().flat_map(|(word, _)| {
        let base = "/hsm/v2/State/Components";
        let one = (format!("{base}/{{xname}}/{word}"), "ComponentPatch");
        let many = (word != "NID").then(|| (format!("{base}/Bulk{word}"), "ComponentsPatch"));
        std::iter::once(one).chain(many)
    });
    for (path, body) in patches {
        let row = ("patch", path.as_str(), W, "Change components that are there", &[][..], body, DONE);
        paths.entry(path.clone()).or_insert_with(|| json!({}))["patch"] = operation(row);
    }
    for row in [COMPONENTS, INVENTORY, GROUPS, SERVICE, OWN].into_iter().flatten() {
        paths.entry(row.1).or_insert_with(|| json!({}))[row.0] = operation(*row);
    }
    let schemas: Value = serde_json::from_str(SCHEMAS)?;
    let document = serde_json::from_value(json!({
        "openapi": "3.1.0",
        "info": {"title": "", "version": ""},
        "paths": paths,
        "components": {"schemas": schemas},
    }))?;
    Ok(finish(document, Service::Inventory, TEXT))
}

type RowOf<'a> = (&'a str, &'a str, Option<Scope>, &'a str, &'a [&'a str], &'a str, &'a [(&'a str, &'a str)]);

fn operation((method, path, scope, summary, query, body, answers): RowOf<'_>) -> Value {
    let names = path.split('/').filter_map(|it| it.strip_prefix('{')?.strip_suffix('}'));
    let string = json!({"type": "string"});
    let mut parameters: Vec<Value> =
        names.map(|it| json!({"name": it, "in": "path", "required": true, "schema": string})).collect();
    let inside = !parameters.is_empty();
    parameters.extend(query.iter().map(|it| {
        let schema = match *it {
            "dry_run" => json!({"type": "boolean"}),
            _ => json!({"type": "array", "items": string}),
        };
        json!({"name": it, "in": "query", "required": false, "schema": schema})
    }));
    let mut responses = Map::new();
    if inside || !body.is_empty() || query.contains(&"dry_run") {
        responses.insert("400".to_owned(), answer("!"));
    }
    if inside {
        responses.insert("404".to_owned(), answer("!"));
    }
    responses.extend(answers.iter().map(|(status, shape)| ((*status).to_owned(), answer(shape))));
    let mut operation = json!({"summary": summary, "parameters": parameters, "responses": responses});
    operation["operationId"] = json!(format!("{method} {path}"));
    if let Some(scope) = scope {
        operation["security"] = json!([security(scope)]);
    }
    match body {
        "" => {}
        "yaml" => {
            operation["requestBody"] =
                json!({"required": true, "content": {"application/yaml": {"schema": string}}});
        }
        name => {
            let content = json!({"application/json": {"schema": reference(name)}});
            operation["requestBody"] = json!({"required": true, "content": content});
        }
    }
    operation
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn answer(shape: &str) -> Value {
    let (kind, schema) = match shape {
        "-" => return json!({"description": "Done"}),
        "!" => ("application/problem+json", reference("Problem")),
        "text" => ("text/plain; charset=utf-8", json!({"type": "string"})),
        name => ("application/json", reference(name)),
    };
    let description = if shape == "!" { "Why not" } else { "What there is" };
    json!({"description": description, "content": {kind: {"schema": schema}}})
}
