//! `## template: jinja`: a node's cloud-init fills such a file in by itself, with its instance data. Here
//! that is done beforehand, so that a mistake is named before a node meets it. Jinja is minijinja; what it
//! lacks of Python's is told as a fault that may be none.

use std::io;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind, UndefinedBehavior, Value as Jinja};
use serde_json::{Map, Value, json};

/// Steps of one evaluation; a file of some thousand lines takes a hundred thousand.
const FUEL: u64 = 1_000_000;
/// How deep macros may call each other.
const RECURSION_MAX: usize = 32;
/// The longest outcome.
const OUTPUT_MAX: usize = 4 << 20;
/// What cloud-init calls a template, in any case (cloud-init's handlers).
const MARK: &str = "## template: jinja";

/// Standardised instance data that only the node itself knows; it is there, whatever it is.
const ON_THE_NODE: [&str; 12] = [
    "distro",
    "distro_release",
    "distro_version",
    "kernel_release",
    "machine",
    "merged_cfg",
    "platform",
    "python_version",
    "subplatform",
    "sys_info",
    "system_platform",
    "variant",
];

/// Why a template cannot be filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The line of the file, from 1; none if it is the whole.
    pub(crate) line: Option<usize>,
    /// What stands there, if it is a variable without a value.
    pub(crate) variable: Option<String>,
    pub(crate) detail: String,
    /// Whether no data would make it right.
    pub(crate) is_syntax: bool,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        match &self.variable {
            Some(variable) => write!(f, "{variable} has no value"),
            None => f.write_str(&self.detail),
        }
    }
}

/// Whether cloud-init takes a file for a template.
pub(crate) fn is_template(file: &str) -> bool {
    file.trim_start().get(..MARK.len()).is_some_and(|it| it.eq_ignore_ascii_case(MARK))
}

/// Whether a template can be read at all.
///
/// # Errors
///
/// Where it cannot.
pub(crate) fn parse(file: &str) -> Result<(), Fault> {
    environment(UndefinedBehavior::Strict)?.template_from_str(file).map(drop).map_err(|it| fault(&it, file))
}

/// The file as the node's cloud-init makes it of this meta-data.
///
/// # Errors
///
/// The first thing that goes wrong.
pub(crate) fn render(file: &str, meta_data: &Map<String, Value>) -> Result<String, Fault> {
    let environment = environment(UndefinedBehavior::Strict)?;
    let template = environment.template_from_str(file).map_err(|it| fault(&it, file))?;
    let mut out = Bounded(Vec::new());
    let context = Jinja::from(Serde(instance_data(meta_data)));
    template.render_captured_to(context, &mut out).map_err(|it| fault(&it, file))?;
    let text = String::from_utf8(out.0).unwrap_or_default();
    // The first line says that it is a template, and is no part of it.
    let text = text.trim_start().split_once('\n').map_or("", |it| it.1);
    Ok(text.to_owned())
}

fn environment(undefined: UndefinedBehavior) -> Result<Environment<'static>, Fault> {
    let mut environment = Environment::new();
    environment.set_debug(true);
    environment.set_undefined_behavior(undefined);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(RECURSION_MAX);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    // As cloud-init's templater sets it.
    let syntax = SyntaxConfig::builder().trim_blocks(true).keep_trailing_newline(true).build();
    environment.set_syntax(syntax.map_err(|it| fault(&it, ""))?);
    Ok(environment)
}

/// What a template sees: `ds.meta_data`, `v1`, and the members of `v1` by themselves; each name with a
/// character that no variable has is there with `_` instead too (cloud-init's instance data).
fn instance_data(meta_data: &Map<String, Value>) -> Map<String, Value> {
    let text = |name: &str| meta_data.get(name).cloned().unwrap_or_default();
    let own = &meta_data.get("instance_data").map_or(&Value::Null, |it| &it["v1"]);
    let mut v1 = Map::new();
    for name in ON_THE_NODE {
        v1.insert(name.to_owned(), format!("<{name}>").into());
    }
    v1.insert("cloud_name".to_owned(), "nocloud".into());
    v1.insert("instance_id".to_owned(), text("instance-id"));
    v1.insert("local_hostname".to_owned(), text("local-hostname"));
    v1.insert("public_ssh_keys".to_owned(), meta_data.get("public-keys").cloned().unwrap_or(json!([])));
    for name in ["region", "availability_zone"] {
        v1.insert(name.to_owned(), own.get(name).cloned().unwrap_or_default());
    }
    let mut all = v1.clone();
    all.insert("v1".to_owned(), v1.into());
    all.insert("ds".to_owned(), json!({"meta_data": with_aliases(&Value::Object(meta_data.clone()))}));
    all
}

fn with_aliases(value: &Value) -> Value {
    match value {
        Value::Array(elements) => elements.iter().map(with_aliases).collect(),
        Value::Object(members) => {
            let mut all = Map::new();
            for (name, value) in members {
                let alias = name.replace(|it: char| !it.is_alphanumeric() && it != '_', "_");
                let value = with_aliases(value);
                all.insert(alias, value.clone());
                all.insert(name.clone(), value);
            }
            Value::Object(all)
        }
        other => other.clone(),
    }
}

fn fault(error: &minijinja::Error, file: &str) -> Fault {
    let undefined = error.kind() == ErrorKind::UndefinedError;
    let variable = error.range().and_then(|it| file.get(it)).map(str::trim).filter(|_| undefined);
    let detail = match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    };
    Fault {
        line: error.line(),
        variable: variable.map(|it| it.chars().take(200).collect()),
        detail,
        is_syntax: error.kind() == ErrorKind::SyntaxError,
    }
}

/// Takes so much and no more.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > OUTPUT_MAX {
            return Err(io::Error::other(format!("more than {} MiB come of it", OUTPUT_MAX >> 20)));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::{Map, Value, json};

    use super::{is_template, parse, render};

    fn meta() -> Map<String, Value> {
        let groups = json!({"my-group": {"syslog": "10.0.0.9"}});
        let v1 = json!({"public_keys": ["k1", "k2"], "vendor_data": {"groups": groups}});
        let meta = json!({"instance-id": "i-1", "local-hostname": "nid001", "instance_data": {"v1": v1}});
        meta.as_object().unwrap().clone()
    }

    #[test]
    fn a_template_is_known_by_its_first_line() {
        assert!(is_template("## template: jinja\n#cloud-config\n") && is_template("\n## Template: Jinja\n"));
        assert!(!is_template("#cloud-config\n## template: jinja\n") && !is_template(""));
    }

    #[test]
    fn a_template_sees_what_cloud_init_shows_it() {
        let file = "## template: jinja
#cloud-config
host: {{ ds.meta_data.local_hostname }} {{ v1.instance_id }}
{% for key in ds.meta_data.instance_data.v1.public_keys %}
- {{ key }}
{% endfor %}
{% set groups = ds.meta_data.instance_data.v1.vendor_data.groups %}
log: {{ groups.my_group.syslog }} {{ local_hostname }}
{% for name, it in groups.items() %}
{{ name }}
{% endfor %}
{% if distro == 'debian' or nothing is defined %}
no
{% endif %}
";
        let expected =
            "#cloud-config\nhost: nid001 i-1\n- k1\n- k2\nlog: 10.0.0.9 nid001\nmy-group\nmy_group\n";
        let mut lines: Vec<String> = render(file, &meta()).unwrap().lines().map(str::to_owned).collect();
        lines[5..].sort();
        assert_eq!(lines, expected.lines().collect::<Vec<_>>());
    }

    #[test]
    fn what_goes_wrong_is_named_with_its_line_and_variable() {
        let fault = render("## template: jinja\n\na: {{ ds.meta_data.instance_data.v1.rack }}\n", &meta())
            .unwrap_err();
        assert_eq!(fault.to_string(), "line 3: ds.meta_data.instance_data.v1.rack has no value");
        assert!(!fault.is_syntax);
        let fault = render("## template: jinja\n{{ nothing }}\n", &meta()).unwrap_err();
        assert_eq!(fault.variable.as_deref(), Some("nothing"));
        let fault = parse("## template: jinja\n\n{% if x %}\n").unwrap_err();
        assert!(fault.is_syntax && fault.line.is_some(), "{fault}");
        assert!(parse("## template: jinja\n{{ a.b.c }}\n").is_ok());
    }

    #[test]
    fn an_evaluation_ends() {
        for file in [
            "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}",
            "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
            "{{ 'x' * 5000000 }}",
            "{{ 'x' * 9000000000 }}",
            "{% for a in range(9999) %}{{ 'x' * 100000 }}{% endfor %}",
        ] {
            assert!(render(&format!("## template: jinja\n{file}\n"), &meta()).is_err(), "{file}");
        }
    }
}
