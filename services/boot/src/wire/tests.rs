#![expect(clippy::unwrap_used, reason = "tests")]

use domain::inventory::Component;
use serde_json::json;

use super::{BodyError, Origin, boot_script, parse_write, retry_script, wait_script};
use crate::model::{Asked, Settings};

fn origin() -> Origin {
    Origin {
        base: "http://172.16.0.254:8081".into(),
        cloud_init: "http://172.16.0.254:8081/cloud-init/".into(),
    }
}

fn node() -> Component {
    serde_json::from_value(json!({"id": "x1000c1s7b1n0", "nid": 2})).unwrap()
}

#[test]
fn a_script_boots_and_comes_back_by_the_way_it_was_fetched() {
    let settings =
        Settings::new("http://h/k".into(), "http://h/i".into(), "quiet initrd=old more".into()).unwrap();
    let again = Asked::Mac("EC:E7:A7:05:A1:FC".into());
    let script = boot_script(&settings, Some(&node()), &again, 3, &origin());
    let lines: Vec<&str> = script.lines().collect();
    let words = "xname=x1000c1s7b1n0 nid=2 ds=nocloud-net;s=http://172.16.0.254:8081/cloud-init/";
    assert_eq!(
        lines[1],
        format!("kernel --name kernel http://h/k initrd=initrd quiet  more {words} || goto boot_retry")
    );
    let url = "http://172.16.0.254:8081/apis/bss/boot/v1/bootscript?mac=EC:E7:A7:05:A1:FC&retry=4";
    assert_eq!(lines[6], format!("chain {url}"));
    assert!(script.ends_with("\n\n"));
}

#[test]
fn words_that_are_there_are_not_added() {
    let settings =
        Settings::new("http://h/k".into(), String::new(), "ds=nocloud xname=o nid=7".into()).unwrap();
    let script = boot_script(&settings, Some(&node()), &Asked::Name("x".into()), 0, &origin());
    assert!(script.contains("kernel http://h/k ds=nocloud xname=o nid=7 || goto"), "{script}");
    let settings = Settings::new("http://h/k".into(), String::new(), String::new()).unwrap();
    let script = boot_script(&settings, None, &Asked::Name("x".into()), 0, &origin());
    assert!(script.contains("kernel http://h/k ds=nocloud-net;s="), "{script}");
}

#[test]
fn what_was_asked_cannot_become_a_command() {
    let asked = Asked::Mac("zz\n${cmd} || shell".into());
    for script in [wait_script(&asked, 1, &origin()), retry_script(&asked, "x86\nshell", 1, &origin())] {
        assert!(!script.contains("shell\n") && !script.contains("${cmd"), "{script}");
        assert!(script.contains("mac=zz%0A%24%7Bcmd%7D%20%7C%7C%20shell&arch="), "{script}");
    }
}

#[test]
fn a_body_that_cannot_be_taken_is_refused_with_the_recorded_text() {
    let refused = |body: &str| parse_write(body.as_bytes(), true).unwrap_err().to_string();
    assert_eq!(refused(""), "EOF");
    assert_eq!(refused("{\"macs\":"), "unexpected EOF");
    assert_eq!(refused(r#"{"macs":["zz:zz"]}"#), "invalid MAC address format: zz:zz\n");
    assert_eq!(refused(r#"{"hosts":["x!"]}"#), "invalid xname: x!");
    assert_eq!(refused(r#"{"hosts":["compute2"]}"#), "invalid xname: compute2");
    let text = "json: cannot unmarshal string into Go struct field BootParams.nids of type int32";
    assert_eq!(refused(r#"{"nids":["x"]}"#), text);
    assert!(matches!(parse_write(br#"{"nids":[3000000000]}"#, true), Err(BodyError::Type { .. })));
    let write = parse_write(br#"{"hosts":["compute","X1000C1S7B1N0"],"kernel":""}"#, false).unwrap();
    assert_eq!(write.targets.len(), 2);
    assert!(write.edit.is_empty());
}
