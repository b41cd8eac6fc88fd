//! What is on the bus is what /usr/share/dbus-1/interfaces says, and the bus's policy lets callers reach it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::apply::{DOCUMENT, apply};
use crate::fake::Lab;

const HEAD: &str = "<!DOCTYPE node PUBLIC \"-//freedesktop//DTD D-BUS Object Introspection 1.0//EN\"\n  \
    \"http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd\">\n";

fn share() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../units/usr/share/dbus-1")
}

/// By its own depth: an object deeper down is told deeper in.
fn indented(xml: &str) -> String {
    let mut depth = 0;
    let mut text = String::new();
    for line in xml.lines().map(str::trim) {
        depth -= usize::from(line.starts_with("</"));
        text += &format!("{}{line}\n", "  ".repeat(depth));
        depth += usize::from(!line.starts_with("</") && !line.ends_with("/>"));
    }
    text
}

/// Each interface of ours that any object has, as XML.
async fn interfaces(lab: &Lab) -> BTreeMap<String, String> {
    let manager = lab.object("", "org.freedesktop.DBus.ObjectManager").await;
    let managed: zbus::fdo::ManagedObjects = manager.call("GetManagedObjects", &()).await.unwrap();
    let mut paths: Vec<_> = managed.keys().map(ToString::to_string).collect();
    paths.push("/org/pilothouse/Supervisor1".to_owned());
    let mut found = BTreeMap::new();
    for path in paths {
        let below = path.strip_prefix("/org/pilothouse/Supervisor1").unwrap();
        let object = lab.object(below, "org.freedesktop.DBus.Introspectable").await;
        let xml: String = object.call("Introspect", &()).await.unwrap();
        for part in xml.split("<interface name=\"").skip(1) {
            let (name, rest) = part.split_once('"').unwrap();
            if name.starts_with("org.pilothouse.") {
                let (body, _) = rest.split_once("</interface>").unwrap();
                let text = format!("<node>\n<interface name=\"{name}\"{body}</interface>\n</node>\n");
                let text = HEAD.to_owned() + &indented(&text);
                assert_eq!(*found.entry(name.to_owned()).or_insert(text.clone()), text, "{path}");
            }
        }
    }
    found
}

#[tokio::test]
async fn every_interface_is_as_the_image_tells_it() {
    let lab = Lab::new().await;
    for (file, text) in [
        ("certificates.json", r#"[{"id":"gateway"}]"#),
        (
            "issues.json",
            r#"[{"id":"odd/gateway","kind":"odd","context":{},"severity":"warning","since":"2026-11-23T00:00:00Z",
                "summary":"odd","suggestion":"look","fix":null,"message_id":""}]"#,
        ),
    ] {
        let folder = lab.folder.path().join("sockets/gateway");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(file), text).unwrap();
    }
    let _supervisor = lab.supervisor("/bin/true").await;
    // A job is there as soon as there was one.
    apply(&lab, DOCUMENT).await.unwrap();
    let found = interfaces(&lab).await;
    let policy = std::fs::read_to_string(share().join("system.d/org.pilothouse.Supervisor1.conf")).unwrap();
    for (name, text) in &found {
        let allowed = format!("send_destination=\"org.pilothouse.Supervisor1\" send_interface=\"{name}\"/>");
        assert!(policy.contains(&allowed), "the bus lets nobody call {name}");
        let path = share().join("interfaces").join(format!("{name}.xml"));
        if std::env::var("PILOTHOUSE_WRITE").is_ok_and(|it| it == "docs") {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
        }
        let told = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(told == *text, "{} differs; PILOTHOUSE_WRITE=docs writes it:\n{text}", path.display());
    }
    let files = std::fs::read_dir(share().join("interfaces")).unwrap().count();
    assert_eq!(files, found.len(), "an interface that is no more");
    for wanted in ["Config", "Service", "Certificate", "Job", "Issue"] {
        assert!(
            found.contains_key(&format!("org.pilothouse.Supervisor1.{wanted}")),
            "{wanted}: {:?}",
            found.keys()
        );
    }
}

#[tokio::test]
async fn the_level_of_the_log_is_systemctls_to_set() {
    let lab = Lab::new().await;
    let _supervisor = lab.supervisor("/bin/true").await;
    let control = zbus::proxy::Builder::<zbus::Proxy<'_>>::new(&lab.caller)
        .destination("org.pilothouse.Supervisor1")
        .path("/org/freedesktop/LogControl1")
        .interface("org.freedesktop.LogControl1")
        .cache_properties(zbus::proxy::CacheProperties::No)
        .build()
        .await
        .unwrap();
    let word = async |name: &str| control.get_property::<String>(name).await.unwrap();
    assert_eq!(word("SyslogIdentifier").await, "pilothouse-supervisor");
    assert_eq!((word("LogLevel").await, word("LogTarget").await), ("info".to_owned(), "console".to_owned()));
    control.set_property("LogLevel", "debug").await.unwrap();
    assert_eq!(word("LogLevel").await, "debug");
    assert!(control.set_property("LogLevel", "loud").await.is_err());
    assert!(control.set_property("LogLevel", "err").await.is_err(), "audit records are at info");
    assert!(control.set_property("LogTarget", "kmsg").await.is_err());
    lab.script.lock().unwrap().denied = true;
    let error = control.set_property("LogLevel", "info").await.unwrap_err().to_string();
    assert!(error.contains("org.pilothouse.supervisor1.manage-services"), "{error}");
    assert_eq!(word("LogLevel").await, "debug");
}
