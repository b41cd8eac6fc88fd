#![expect(clippy::unwrap_used, reason = "tests")]

use domain::inventory::Component;
use serde_json::json;

use super::{
    BodyError, Origin, ask_script, boot_script, command_line, parse_write, renew_script, retry_script,
    wait_script,
};
use crate::model::{Architecture, Asked, COMMAND_LINE_MAX, Image};

fn origin() -> Origin<'static> {
    Origin {
        base: "http://172.16.0.254:8081".into(),
        cloud_init: "http://172.16.0.254:8081/cloud-init/".into(),
        images: "http://172.16.0.254:8080".into(),
        patience: None,
        nonce: None,
    }
}

fn node() -> Component {
    serde_json::from_value(json!({"id": "x1000c1s7b1n0", "nid": 2})).unwrap()
}

#[test]
fn a_script_boots_and_comes_back_by_the_way_it_was_fetched() {
    let image = Image { kernel: "http://h/k", initrd: "http://h/i", params: "quiet initrd=old more" };
    let again = Asked::Mac("EC:E7:A7:05:A1:FC".into());
    let script = boot_script(image, Some(&node()), &again, (3, None), &origin()).unwrap();
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
fn a_nonce_comes_first_and_is_in_no_line_itself() {
    let image = Image { kernel: "http://h/k", initrd: "http://h/i", params: "quiet" };
    let again = Asked::Mac("52:54:00:10:00:01".into());
    let origin = Origin { nonce: "52:54:00:10:00:01".parse().ok(), ..origin() };
    let script = boot_script(image, Some(&node()), &again, (0, None), &origin).unwrap();
    assert!(script.contains("/k initrd=join initrd=initrd quiet "), "{script}");
    let url = "http://172.16.0.254:8081/join/52:54:00:10:00:01.cpio";
    let names = format!("\ninitrd --name join {url} || goto boot_retry\ninitrd --name initrd http://h/i ||");
    assert!(script.contains(&names), "{script}");
}

#[test]
fn words_that_are_there_are_not_added() {
    let image = Image { kernel: "http://h/k", initrd: "", params: "ds=nocloud xname=o nid=7" };
    let line = command_line(image, Some(&node()), &origin()).unwrap();
    assert_eq!(line, "ds=nocloud xname=o nid=7");
    let line = command_line(Image { params: "", ..image }, None, &origin()).unwrap();
    assert_eq!(line, "ds=nocloud-net;s=http://172.16.0.254:8081/cloud-init/");
}

#[test]
fn a_line_that_linux_would_cut_is_no_script() {
    let params = "a".repeat(COMMAND_LINE_MAX - 4);
    let image = Image { kernel: "k", initrd: "", params: &format!("ds= {params}") };
    assert_eq!(command_line(image, None, &origin()).unwrap().len(), COMMAND_LINE_MAX);
    assert!(command_line(image, Some(&node()), &origin()).unwrap_err().to_string().contains("2047"));
}

#[test]
fn what_was_asked_cannot_become_a_command() {
    let asked = Asked::Mac("zz\n${cmd} || shell".into());
    let arch = "x86\nshell";
    for script in [
        wait_script(&asked, 1, &origin()),
        retry_script(&asked, arch, 1, &origin()),
        renew_script(&asked, arch, 1, &origin()),
        ask_script(&asked, 1, &origin()),
    ] {
        assert!(!script.contains("shell\n") && !script.contains("${cmd"), "{script}");
        assert!(script.contains("mac=zz%0A%24%7Bcmd%7D%20%7C%7C%20shell&arch="), "{script}");
    }
}

#[test]
fn architectures_are_named_as_ipxe_names_them() {
    let body = br#"{"nids":[1],"architectures":{"arm64":{"kernel":"k"},"x86_64":null}}"#;
    let write = parse_write(body, true).unwrap();
    assert!(write.edit.architectures[&Architecture::X86_64].is_none());
    assert_eq!(write.edit.architectures[&Architecture::Arm64].as_ref().unwrap().kernel, "k");
    for bad in
        [r#"{"amd64":{"kernel":"k"}}"#, r#"{"arm64":{}}"#, r#"{"arm64":{"kernel":"k","para":""}}"#, "[]"]
    {
        let error = parse_write(format!(r#"{{"architectures":{bad}}}"#).as_bytes(), true).unwrap_err();
        assert!(error.to_string().contains("arm64"), "{error}");
    }
    assert!(
        parse_write(br#"{"arch":"x86_64","nids":[1]}"#, true).is_ok(),
        "BSS ignores what it does not know"
    );
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
