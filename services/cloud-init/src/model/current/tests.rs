use domain::feed::Change;
use serde_json::{Value, json};

use super::{ClusterDefaults, Current, DEFAULTS, Facts, GROUP, GroupFile, INSTANCE, Naming, instance_id};
use crate::wire::to_yaml_in_order;

fn node() -> Facts {
    Facts {
        xname: "x1000c1s7b1n0".parse().unwrap(),
        name: "login1".to_owned(),
        nid: 2,
        address: "172.16.0.1".to_owned(),
        groups: vec!["compute".to_owned(), "zeta".to_owned()],
    }
}

fn current(rows: &[(&str, &str, Value)]) -> Current {
    let mut current = Current::default();
    for (kind, id, row) in rows {
        current.apply(&Change::put(kind, *id, row.clone())).unwrap();
    }
    current
}

#[test]
fn meta_data_is_in_the_recorded_order_and_leaves_out_what_is_empty() {
    let current = current(&[
        (DEFAULTS, "", json!({"cluster-name": "demo", "short-name": "nid", "nid-length": 3, "region": "r1"})),
        (
            GROUP,
            "compute",
            json!({"name": "compute", "meta-data": {"b": 1, "Description": "own", "a": {"z": 1}}}),
        ),
        (
            INSTANCE,
            "x1000c1s7b1n0",
            json!({"instance-id": "i-1", "public-keys": ["k"], "instance-type": "t1"}),
        ),
    ]);
    let text = to_yaml_in_order(&current.meta_data(&node(), Naming::Recorded, None));
    let expected = "instance-id: i-1
local-hostname: nid002
hostname: nid002
cluster-name: demo
instance_data:
  v1:
    instance_id: i-1
    instance_type: t1
    region: r1
    local_ipv4: 172.16.0.1
    public_keys:
    - k
    vendor_data:
      version: \"1.0\"
      cluster_name: demo
      groups:
        compute:
          Description: own
          a:
            z: 1
          b: 1
        zeta:
          Description: No description Found
";
    assert_eq!(text, expected);
}

#[test]
fn a_node_s_name_is_made_of_what_is_set() {
    let name = |defaults: Value, naming| {
        let all = current(&[(DEFAULTS, "", defaults)]).meta_data(&node(), naming, None);
        all["hostname"].as_str().unwrap().to_owned()
    };
    let own = Naming::Own { cluster: "here" };
    assert_eq!(name(json!({}), Naming::Recorded), "0002");
    assert_eq!(name(json!({"cluster-name": "demo"}), Naming::Recorded), "de0002");
    assert_eq!(name(json!({"short-name": "n", "nid-length": 2}), own), "n02");
    assert_eq!(name(json!({"cluster-name": "demo"}), own), "login1");
    let all = current(&[]).meta_data(&node(), own, None);
    assert_eq!(all["cluster-name"], "here");
}

#[test]
fn an_instance_id_is_the_same_each_time_and_of_the_recorded_form() {
    let xname = "x1000c1s7b1n0".parse().unwrap();
    let id = instance_id(&xname);
    assert_eq!(id, instance_id(&xname));
    assert!(id.len() == 10 && id.starts_with("i-"), "{id}");
    assert_ne!(id, instance_id(&"x1000c1s7b1n1".parse().unwrap()));
}

#[test]
fn what_is_empty_in_new_defaults_stays() {
    let mut defaults = ClusterDefaults { region: "r1".to_owned(), nid_length: 3, ..Default::default() };
    defaults.take(ClusterDefaults { base_url: "http://h/ci//".to_owned(), ..Default::default() });
    assert_eq!(json!(defaults), json!({"region": "r1", "base-url": "http://h/ci", "nid-length": 3}));
}

#[test]
fn a_file_is_decoded_as_its_encoding_says() {
    let file = |encoding: &str, content: &str| {
        GroupFile { content: content.to_owned(), encoding: encoding.to_owned(), ..Default::default() }
            .decode()
    };
    assert_eq!(file("base64", "I2Ns\nb3Vk\n").unwrap(), "#cloud");
    assert_eq!(file("plain", "I2Nsb3Vk").unwrap(), "I2Nsb3Vk");
    assert_eq!(file("base64", "I2N*").unwrap_err(), 3);
}

#[test]
fn the_base_url_of_a_node_goes_before_the_cluster_s() {
    let current = current(&[
        (DEFAULTS, "", json!({"base-url": "http://all"})),
        (INSTANCE, "x1000c1s7b1n0", json!({"cloud-init-base-url": "http://one"})),
    ]);
    assert_eq!(current.base_url("x1000c1s7b1n0"), Some("http://one"));
    assert_eq!(current.base_url("x1000c1s7b2n0"), Some("http://all"));
    assert_eq!(Current::default().base_url("x1"), None);
}
