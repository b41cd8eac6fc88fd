//! What a node would be given, and where each part comes from.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use web::{Caller, Json, Path, Problem};

use super::CloudInit;
use super::data::{base_url, includes};
use crate::client::{Origin, Rendered, RenderedFile};
use crate::config::Api;
use crate::model::{
    Facts, Merged, NOTHING, Node, Store, Subject, facts_of, is_template, render_template, subject_of,
};
use crate::wire::{to_yaml, to_yaml_in_order, user_data};

/// What a node is given by its address, or a group by its label, from the open store or by the present API.
#[utoipa::path(get, path = "/pilothouse/v1/render/{word}", tag = "own",
    params(("word" = String, Path, description = "An xname, a name, a MAC address or a group's label")),
    responses((status = 200, description = "What it is given", body = Rendered),
        (status = 404, description = "Nobody is called so",
            body = Problem, content_type = "application/problem+json")))]
pub(super) async fn show(
    State(service): State<CloudInit>,
    caller: Caller,
    headers: HeaderMap,
    Path(word): Path<String>,
) -> Result<Json<Rendered>, Problem> {
    let pattern = &service.config.host_pattern;
    let subject = service.inventory.read(|it| subject_of(it, &word, pattern));
    let merged = match service.config.api {
        Api::Current => None,
        _ => service.entries.read(|it| it.merge(Store::Open, &subject, service.config.merge)),
    };
    let facts = subject.node.as_ref();
    let facts = facts.and_then(|node| service.inventory.read(|it| facts_of(it, &node.xname, pattern)));
    match (merged, &subject.node, facts) {
        (Some(merged), _, facts) => Ok(Json(legacy(&service, &subject, &merged, facts.as_ref()))),
        (None, Some(_), _) if service.config.api == Api::Legacy => {
            Ok(Json(legacy(&service, &subject, &Merged::default(), None)))
        }
        (None, Some(node), Some(facts)) => {
            let way = |it: Option<&str>| {
                it.map_or_else(|| base_url(&service.config, &caller, &headers), str::to_owned)
            };
            Ok(Json(current(&service, node, &facts, way)))
        }
        _ => {
            let word: String = word.chars().take(64).collect();
            let detail =
                format!("{word:?} is no node of the inventory and no entry; see pilotctl nodes list");
            Err(Problem::own(StatusCode::NOT_FOUND, "unknown-node", detail))
        }
    }
}

fn legacy(service: &CloudInit, subject: &Subject, merged: &Merged, facts: Option<&Facts>) -> Rendered {
    let metadata = match &subject.node {
        Some(node) => merged.metadata_for(node),
        None => merged.metadata.clone(),
    };
    let origins = service.entries.read(|it| it.origins(Store::Open, &merged.sources));
    let hidden: Vec<String> = service.entries.read(|entries| {
        let labels = facts.into_iter().flat_map(|it| &it.groups);
        labels.filter(|it| entries.current.groups().contains_key(*it)).cloned().collect()
    });
    let hints = match (hidden.as_slice(), service.config.api) {
        ([], _) | (_, Api::Legacy) => Vec::new(),
        (hidden, _) => vec![format!(
            "data of the present API for {} are hidden by these entries; delete these, or set cloud_init.api",
            hidden.join(", ")
        )],
    };
    Rendered {
        node: subject.node.as_ref().map(|it| it.xname.clone()),
        api: "legacy".to_owned(),
        meta_data: to_yaml(&metadata),
        user_data: user_data(&merged.userdata),
        vendor_data: to_yaml(&merged.vendordata),
        sources: merged.sources.clone(),
        origins,
        files: Vec::new(),
        hints,
    }
}

fn current(
    service: &CloudInit,
    node: &Node,
    facts: &Facts,
    way: impl FnOnce(Option<&str>) -> String,
) -> Rendered {
    service.entries.read(|entries| {
        let current = &entries.current;
        let base = way(current.base_url(node.xname.as_str()));
        let data = current.meta_data(facts, service.naming(), None);
        let files = facts.groups.iter().map(|group| {
            let file = String::from_utf8_lossy(&current.file(group)).into_owned();
            let outcome = is_template(&file).then(|| render_template(&file, &data));
            let (rendered, fault) = match outcome {
                None => (None, None),
                Some(Ok(text)) => (Some(text), None),
                Some(Err(fault)) => (None, Some(format!("group {group}: {fault}"))),
            };
            let url = format!("{base}/{group}.yaml");
            RenderedFile { group: group.clone(), url, content: file, rendered, fault }
        });
        let mut origins: Vec<Origin> = Vec::new();
        let set = current.instance(node.xname.as_str());
        let mut tell = |key: &str, own: bool, from: &str| {
            let from = if own { "node" } else { from };
            origins.push(Origin { part: "meta-data".into(), key: key.into(), from: vec![from.into()] });
        };
        let named = if current.defaults.short_name.is_empty() { "inventory" } else { "cluster defaults" };
        tell("local-hostname", set.is_some_and(|it| !it.local_hostname.is_empty()), named);
        tell("hostname", set.is_some_and(|it| !it.hostname.is_empty()), named);
        tell("instance-id", set.is_some_and(|it| !it.instance_id.is_empty()), "xname");
        Rendered {
            node: Some(node.xname.clone()),
            api: "current".to_owned(),
            meta_data: to_yaml_in_order(&data),
            user_data: NOTHING.to_owned(),
            vendor_data: includes(&base, &facts.groups),
            sources: facts.groups.clone(),
            files: files.collect(),
            origins,
            hints: Vec::new(),
        }
    })
}
