//! An object for each certificate that a service tells of.

use std::path::Path;

use crate::fake::{LIMIT, Lab};

const CERTIFICATE: &str = "org.pilothouse.Supervisor1.Certificate";

/// As a service does it: replaced as a whole.
fn tell(lab: &Lab, service: &str, text: &str) {
    let folder = lab.folder.path().join("sockets").join(service);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("new"), text).unwrap();
    std::fs::rename(folder.join("new"), folder.join("certificates.json")).unwrap();
}

fn certificate(id: &str, not_after: &str, error: &str) -> String {
    format!(
        r#"{{"id":"{id}","names":["demo.openchami.cluster","10.0.0.1"],"issuer":"CN=Issuing CA","serial":"01",
        "not_before":"2026-11-22T00:00:00Z","not_after":"{not_after}","last_error":{error}}}"#
    )
}

async fn ids(lab: &Lab) -> Vec<String> {
    let manager = lab.object("", "org.freedesktop.DBus.ObjectManager").await;
    let managed: zbus::fdo::ManagedObjects = manager.call("GetManagedObjects", &()).await.unwrap();
    let mut paths: Vec<_> =
        managed.iter().filter(|it| it.1.contains_key(CERTIFICATE)).map(|it| it.0.to_string()).collect();
    paths.sort();
    paths.iter().filter_map(|it| Path::new(it).file_name()).map(|it| it.display().to_string()).collect()
}

async fn until_ids(lab: &Lab, expected: &[&str]) {
    let seen = async {
        while ids(lab).await != expected {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, seen).await.unwrap();
}

#[tokio::test]
async fn a_certificate_is_shown_as_its_service_tells_of_it() {
    let lab = Lab::new().await;
    tell(&lab, "gateway", &format!("[{}]", certificate("gateway", "2026-11-23T00:00:00Z", "null")));
    let _supervisor = lab.supervisor("/bin/true").await;
    assert_eq!(ids(&lab).await, ["gateway"], "what is there is shown from the beginning");
    let object = lab.object("/certificate/gateway", CERTIFICATE).await;
    let names: Vec<String> = object.get_property("Names").await.unwrap();
    assert_eq!(names, ["demo.openchami.cluster", "10.0.0.1"]);
    for (property, value) in [
        ("Service", "gateway"),
        ("Id", "gateway"),
        ("Issuer", "CN=Issuing CA"),
        ("NotAfter", "2026-11-23T00:00:00Z"),
        ("LastError", ""),
    ] {
        assert_eq!(object.get_property::<String>(property).await.unwrap(), value);
    }
    use futures_util::StreamExt as _;
    let changes = lab.object("/certificate/gateway", "org.freedesktop.DBus.Properties").await;
    let mut changes = changes.receive_signal("PropertiesChanged").await.unwrap();
    let later = certificate("gateway", "2026-11-24T00:00:00Z", "\"ca does not answer\"");
    tell(&lab, "gateway", &format!("[{later},{}]", certificate("gateway-front", "x", "null")));
    let changed = async {
        while object.get_property::<String>("LastError").await.unwrap() != "ca does not answer" {
            changes.next().await.unwrap();
        }
    };
    tokio::time::timeout(LIMIT, changed).await.unwrap();
    assert_eq!(object.get_property::<String>("NotAfter").await.unwrap(), "2026-11-24T00:00:00Z");
    until_ids(&lab, &["gateway", "gateway_front"]).await;
    tell(&lab, "gateway", "[]");
    until_ids(&lab, &[]).await;
}

#[tokio::test]
async fn what_is_no_list_of_certificates_changes_nothing() {
    let lab = Lab::new().await;
    tell(&lab, "gateway", &format!("[{}]", certificate("gateway", "x", "null")));
    tell(&lab, "auth", "rubbish");
    let _supervisor = lab.supervisor("/bin/true").await;
    assert_eq!(ids(&lab).await, ["gateway"]);
    tell(&lab, "gateway", "{");
    tell(&lab, "ca", &format!("[{}]", certificate("ca", "x", "null")));
    until_ids(&lab, &["ca", "gateway"]).await;
}

#[tokio::test]
async fn renew_starts_the_unit_of_its_service_for_who_may() {
    let lab = Lab::new().await;
    tell(&lab, "gateway", &format!("[{}]", certificate("gateway-front", "x", "null")));
    let _supervisor = lab.supervisor("/bin/true").await;
    let object = lab.object("/certificate/gateway_front", CERTIFICATE).await;
    let renew = async || -> zbus::Result<()> {
        tokio::time::timeout(LIMIT, object.call("Renew", &())).await.unwrap()
    };
    renew().await.unwrap();
    let expected = [
        "polkit org.pilothouse.supervisor1.manage-services service=gateway verb=renew",
        "start pilothouse-renew@gateway.service",
    ];
    assert_eq!(lab.calls(), expected);
    let unit = "pilothouse-renew@gateway.service".to_owned();
    lab.script.lock().unwrap().results.insert(unit, "failed".to_owned());
    let error = renew().await.unwrap_err().to_string();
    assert!(error.contains("journalctl -u pilothouse-renew@gateway.service"), "{error}");
    lab.script.lock().unwrap().denied = true;
    assert!(renew().await.unwrap_err().to_string().contains("AccessDenied"));
    assert_eq!(lab.calls().iter().filter(|it| it.starts_with("start")).count(), 2);
}
