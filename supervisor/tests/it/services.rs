//! An object for each service: state, and start, stop, restart.

use crate::fake::{LIMIT, Lab, reload, set_state};

const SERVICE: &str = "org.pilothouse.Supervisor1.Service";

#[tokio::test]
async fn a_service_is_started_stopped_and_restarted() {
    let lab = Lab::new().await;
    let _supervisor = lab.supervisor("/bin/true").await;
    for (method, state) in [("Start", "active"), ("Restart", "active"), ("Stop", "inactive")] {
        lab.call("cloud_init", method).await.unwrap();
        lab.wait_for("cloud_init", "State", state).await;
    }
    let action = "polkit org.pilothouse.supervisor1.manage-services service=cloud-init verb";
    let unit = "pilothouse-cloud-init.service";
    let expected = [
        format!("{action}=start"),
        format!("start {unit}"),
        format!("{action}=restart"),
        format!("restart {unit}"),
        format!("{action}=stop"),
        format!("stop {unit}"),
    ];
    assert_eq!(lab.calls(), expected);
}

#[tokio::test]
async fn a_job_that_fails_is_an_error_that_names_the_journal() {
    let lab = Lab::new().await;
    let _supervisor = lab.supervisor("/bin/true").await;
    lab.script.lock().unwrap().results.insert("pilothouse-boot.service".to_owned(), "failed".to_owned());
    let error = lab.call("boot", "Start").await.unwrap_err().to_string();
    assert!(error.contains("failed") && error.contains("journalctl -u pilothouse-boot.service"), "{error}");
}

#[tokio::test]
async fn who_may_not_changes_nothing() {
    let lab = Lab::new().await;
    let _supervisor = lab.supervisor("/bin/true").await;
    lab.script.lock().unwrap().denied = true;
    for method in ["Start", "Stop", "Restart"] {
        let error = lab.call("boot", method).await.unwrap_err().to_string();
        assert!(error.contains("AccessDenied"), "{error}");
    }
    assert!(lab.calls().iter().all(|it| it.starts_with("polkit")), "{:?}", lab.calls());
}

/// More signals at once than a stream holds: a boot of the head sends several hundred.
#[tokio::test]
async fn a_flood_of_changes_stops_nothing() {
    let lab = Lab::new().await;
    let _supervisor = lab.supervisor("/bin/true").await;
    for round in 0..100 {
        for service in domain::Service::ALL {
            set_state(&lab.systemd, &service.unit(), "activating", "start", round).await;
        }
    }
    for service in domain::Service::ALL {
        set_state(&lab.systemd, &service.unit(), "active", "running", 100).await;
    }
    for service in domain::Service::ALL {
        lab.wait_for(&service.name().replace('-', "_"), "Health", "ok").await;
    }
}

#[tokio::test]
async fn a_failure_is_seen_and_so_is_its_end() {
    let lab = Lab::new().await;
    let _supervisor = lab.supervisor("/bin/true").await;
    set_state(&lab.systemd, "pilothouse-dhcp.service", "active", "running", 0).await;
    lab.wait_for("dhcp", "Health", "ok").await;
    set_state(&lab.systemd, "pilothouse-dhcp.service", "activating", "auto-restart", 1).await;
    lab.wait_for("dhcp", "Health", "failed").await;
    set_state(&lab.systemd, "pilothouse-dhcp.service", "active", "running", 1).await;
    lab.wait_for("dhcp", "Health", "ok").await;
    let object = lab.object("/service/dhcp", SERVICE).await;
    assert_eq!(object.get_property::<u32>("Restarts").await.unwrap(), 1);
    assert_eq!(object.get_property::<u64>("Since").await.unwrap(), 3);
    assert_eq!(object.get_property::<String>("Unit").await.unwrap(), "pilothouse-dhcp.service");
}

#[tokio::test]
async fn a_supervisor_that_was_killed_knows_the_truth_again() {
    let lab = Lab::new().await;
    let mut first = lab.supervisor("/bin/true").await;
    lab.call("images", "Start").await.unwrap();
    first.kill().await.unwrap();
    set_state(&lab.systemd, "pilothouse-power.service", "failed", "failed", 4).await;
    let before = lab.calls();
    let _second = lab.supervisor("/bin/true").await;
    lab.wait_for("images", "Health", "ok").await;
    lab.wait_for("power", "Health", "failed").await;
    assert_eq!(lab.calls(), before, "it asks nothing of systemd but what runs");
}

#[tokio::test]
async fn after_a_reload_it_subscribes_again() {
    let lab = Lab::new().await;
    let _supervisor = lab.supervisor("/bin/true").await;
    assert_eq!(lab.script.lock().unwrap().subscribed, 1);
    reload(&lab.systemd).await;
    // Signals come in their order: when the next change is seen, the reload was.
    set_state(&lab.systemd, "pilothouse-ca.service", "active", "running", 0).await;
    lab.wait_for("ca", "Health", "ok").await;
    let subscribed = async {
        while lab.script.lock().unwrap().subscribed < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, subscribed).await.unwrap();
}

#[tokio::test]
async fn introspection_shows_every_service() {
    let lab = Lab::new().await;
    let _supervisor = lab.supervisor("/bin/true").await;
    let manager = lab.object("", "org.freedesktop.DBus.ObjectManager").await;
    let managed: zbus::fdo::ManagedObjects = manager.call("GetManagedObjects", &()).await.unwrap();
    let services = managed.values().filter(|it| it.contains_key(SERVICE)).count();
    assert_eq!(services, domain::Service::ALL.len() + 1, "the services and PostgreSQL");
    let object = lab.object("/service/cloud_init", "org.freedesktop.DBus.Introspectable").await;
    let xml: String = object.call("Introspect", &()).await.unwrap();
    for word in
        ["\"Start\"", "\"Stop\"", "\"Restart\"", "\"Health\"", "\"SubState\"", "\"Since\"", "\"Restarts\""]
    {
        assert!(xml.contains(word), "{word} in {xml}");
    }
}
