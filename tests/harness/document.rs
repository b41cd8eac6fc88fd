//! The document of a head that runs here: the demo cluster, and what `--set` changes in it.

use anyhow::{Context as _, bail};
use domain::Document;
use toml::{Table, Value};

/// The demo cluster with one plane.
#[must_use]
pub fn demo(interface: &str, address: &str) -> Table {
    let text = format!(
        r#"version = 1
[cluster]
name = "demo"
domain = "openchami.cluster"
[[network.planes]]
name = "nodes"
kind = "nodes"
interface = "{interface}"
addresses = ["{address}"]
"#
    );
    toml::from_str(&text).expect("the demo document is TOML")
}

/// `boot.advertise_url=http://…`: a path of keys and a value, TOML if it reads as such, else a string.
///
/// # Errors
///
/// If there is no `=` or no key.
pub fn parse_setting(text: &str) -> Result<(String, Value), String> {
    let (path, value) =
        text.split_once('=').ok_or_else(|| format!("{text:?} has no `=`; write table.key=value"))?;
    if path.is_empty() || path.split('.').any(str::is_empty) {
        return Err(format!("{path:?} is no path of keys; write table.key=value"));
    }
    let read =
        toml::from_str::<Table>(&format!("value = {value}")).ok().and_then(|mut it| it.remove("value"));
    Ok((path.to_owned(), read.unwrap_or_else(|| Value::String(value.to_owned()))))
}

/// The value at a path of keys.
#[must_use]
pub fn find<'a>(document: &'a Table, path: &str) -> Option<&'a Value> {
    let mut keys = path.split('.');
    let first = document.get(keys.next()?)?;
    keys.try_fold(first, |value, key| value.get(key))
}

/// Sets one value, making the tables on its way.
///
/// # Errors
///
/// If something on the way is no table.
pub fn set(document: &mut Table, path: &str, value: Value) -> anyhow::Result<()> {
    let (tables, key) = path.rsplit_once('.').map_or((None, path), |(tables, key)| (Some(tables), key));
    let mut table = document;
    for name in tables.into_iter().flat_map(|it| it.split('.')) {
        let next = table.entry(name).or_insert_with(|| Value::Table(Table::new()));
        let Value::Table(next) = next else { bail!("{name} of {path} is no table") };
        table = next;
    }
    table.insert(key.to_owned(), value);
    Ok(())
}

/// The document's text, read once as the services will.
///
/// # Errors
///
/// If it does not hold.
pub fn text(document: &Table) -> anyhow::Result<String> {
    let text = toml::to_string(document).context("write the document")?;
    Document::parse(&text).context("check the document")?;
    Ok(text)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    #[test]
    fn a_setting_is_toml_or_else_a_string() {
        let mut document = super::demo("lo", "127.0.0.1/8");
        for text in
            ["cloud_init.api=legacy", "boot.retry_s=3", "boot.advertise_url=\"http://a\"", "ca.x=[1, 2]"]
        {
            let (path, value) = super::parse_setting(text).unwrap();
            super::set(&mut document, &path, value).unwrap();
        }
        assert_eq!(document["cloud_init"]["api"].as_str(), Some("legacy"));
        assert_eq!(document["boot"]["retry_s"].as_integer(), Some(3));
        assert_eq!(document["boot"]["advertise_url"].as_str(), Some("http://a"));
        assert!(super::text(&document).is_ok());
        assert!(super::parse_setting("boot").is_err() && super::parse_setting("boot..x=1").is_err());
        assert!(super::set(&mut document, "version.x", 1.into()).is_err());
    }
}
