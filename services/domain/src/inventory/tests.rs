#![expect(clippy::unwrap_used, reason = "tests")]

use serde_json::json;

use super::Inventory;
use crate::feed::{Change, View};

#[test]
fn every_index_follows_a_change_and_a_deletion() {
    let mut view = Inventory::default();
    let node = "x1000c1s7b1n0";
    let mut apply = |kind: &str, id: &str, row| view.apply(&Change::put(kind, id, row)).unwrap();
    apply("component", node, json!({"id": node, "nid": 1, "name": "login1"}));
    let interface = json!({"id": "ece7a705a1fc", "mac": "ec:e7:a7:05:a1:fc", "component": node,
        "addresses": [{"address": "172.16.0.1"}, {"address": "no address"}]});
    apply("interface", "ece7a705a1fc", interface);
    apply("group", "compute", json!({"label": "compute", "members": [node]}));
    apply("partition", "p1", json!({"name": "p1", "members": [node]}));
    apply("endpoint", "x1000c1s7b1", json!({"id": "x1000c1s7b1", "address": "172.16.0.101"}));
    let id = node.parse().unwrap();
    assert_eq!(view.interface_by_ip("172.16.0.1".parse().unwrap()).unwrap().component, Some(id));
    let id = node.parse().unwrap();
    assert_eq!(view.find("login1", "nid{nid:03}").unwrap().id, id);
    assert_eq!(view.groups_of(&id).collect::<Vec<_>>(), ["compute"]);
    assert_eq!(view.controller_of(&id).unwrap().id.as_str(), "x1000c1s7b1");
    view.apply(&Change::put("component", node, json!({"id": node, "nid": 2}))).unwrap();
    assert!(view.find("login1", "nid{nid:03}").is_none());
    assert_eq!(view.find("nid002", "nid{nid:03}").unwrap().id, id);
    let lock = json!({"by": "alice", "reason": "memory errors", "since": "2026-01-01T00:00:00Z"});
    view.apply(&Change::put("component", node, json!({"id": node, "nid": 2, "lock": lock}))).unwrap();
    let told = "locked by alice since 2026-01-01T00:00:00Z: memory errors";
    assert_eq!(view.lock_of(&id).unwrap().to_string(), told);
    assert_eq!(view.partition_of(&id), Some("p1"));
    view.apply(&Change::put("partition", "p2", json!({"name": "p2", "members": [node]}))).unwrap();
    view.apply(&Change::put("partition", "p1", json!({"name": "p1"}))).unwrap();
    assert_eq!((view.partition_of(&id), view.partitions().count()), (Some("p2"), 2));
    assert!(view.find("nid2", "nid{nid:03}").is_none());
    view.apply(&Change::delete("interface", "ece7a705a1fc")).unwrap();
    assert!(view.interface_by_mac("ec:e7:a7:05:a1:fc".parse().unwrap()).is_none());
    assert_eq!(view.interfaces_of(&id).count(), 0);
}

#[test]
fn an_infiniband_port_is_known_by_its_guid() {
    let mut view = Inventory::default();
    let mac = "80:00:02:08:fe:80:00:00:00:00:00:00:7c:fe:90:03:00:29:26:52";
    let id = mac.replace(':', "");
    view.apply(&Change::put("interface", &id, json!({"id": id, "mac": mac}))).unwrap();
    let guid = [0x7c, 0xfe, 0x90, 0x03, 0x00, 0x29, 0x26, 0x52];
    assert_eq!(view.interface_by_guid(guid).unwrap().id, id);
    let other = mac.replacen("80:00:02:08", "80:00:04:99", 1).parse().unwrap();
    assert_eq!(view.interface_of(other).unwrap().id, id, "the queue pair is another one now");
    assert!(view.interface_by_mac(other).is_none());
    view.apply(&Change::delete("interface", &id)).unwrap();
    assert!(view.interface_by_guid(guid).is_none() && view.interface_of(mac.parse().unwrap()).is_none());
}
