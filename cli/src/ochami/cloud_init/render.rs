//! `ochami cloud-init group render`: the file of a group, its template evaluated here with a node's data.

use minijinja::{Environment, UndefinedBehavior};
use serde_json::{Map, Value, json};

use super::{SEEN_BY, parse};
use crate::ochami::config::Service;
use crate::ochami::error::{Done, Stop};
use crate::ochami::http::{Ask, segment};
use crate::ochami::payload::Payload;
use crate::ochami::{Session, log, output};

/// How much a template may do: a loop over every node of a large cluster, not one that never ends.
const FUEL: u64 = 10_000_000;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    group: String,
    node: String,
    /// Variables beside the node's: the data, or @FILE, or @- for standard input
    #[arg(long, short, value_name = "DATA|@FILE")]
    extra_vars: Option<String>,
    /// Their format
    #[arg(long = "format-input", short = 'f', value_name = "FORMAT")]
    format: Option<String>,
}

pub(super) async fn run(session: &Session, arguments: &Arguments) -> Done {
    let mut client = session.client(Service::CloudInit)?;
    let base = format!("{SEEN_BY}/{}", segment(&arguments.node));
    let template = client.ask(Ask::get(format!("{base}/{}.yaml", segment(&arguments.group)))).await?.text();
    if template.is_empty() {
        log::warning(format!("the group {} has no file", arguments.group));
        return Ok(());
    }
    let data = parse(&client.ask(Ask::get(format!("{base}/meta-data"))).await?.text())?;
    let mut variables = Map::from_iter([("ds".to_owned(), json!({"meta_data": data}))]);
    let extra = Payload::of(arguments.extra_vars.clone(), arguments.format.clone()).read(session)?;
    match extra {
        None => {}
        Some(Value::Object(extra)) => variables.extend(extra),
        Some(_) => return Err(Stop::failed("the extra variables have no names")),
    }
    output::print(render(&template, &Value::Object(variables))?)
}

/// A template with variables; one that is not there is empty. The last line break goes, as Jinja has it.
fn render(template: &str, variables: &Value) -> Result<String, Stop> {
    let fail = |error: minijinja::Error| {
        let line = error.line().map(|it| format!(" in line {it}")).unwrap_or_default();
        Stop::failed(format!("the template fails{line}")).because(error)
    };
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Chainable);
    environment.set_fuel(Some(FUEL));
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.render_str(template, minijinja::value::Serde(variables)).map_err(fail)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::render;

    #[test]
    fn a_template_is_evaluated_with_the_nodes_data() {
        let data = json!({"ds": {"meta_data": {"instance_data": {"v1": {"local_hostname": "nid001",
            "public_keys": ["a", "b"]}}}}, "extra": 1});
        let template = "## template: jinja\nhostname: {{ ds.meta_data.instance_data.v1.local_hostname }}\n\
            keys: {{ ds.meta_data.instance_data.v1.public_keys | length }}{{ ds.nothing.there }}\n{{ extra }}\n";
        let text = render(template, &data).expect("a sound template");
        assert_eq!(text, "## template: jinja\nhostname: nid001\nkeys: 2\n1");
        let stop = render("a\n{% if %}", &data).expect_err("a fault");
        assert!(stop.message.contains("line 2"), "{stop:?}");
    }
}
