//! What iPXE is given, by a reader of scripts that is as strict as we can make it.

use std::collections::BTreeSet;

use serde_json::json;
use sqlx::PgPool;

use crate::harness::{MAC, Running, rows, serve_inventory};

/// Walks a script as iPXE does when each of its commands fails, and gives back the `chain`s and waits it comes by. It
/// must wait and ask for ever: a script that ends leaves the machine to its firmware.
fn walk(script: &str, rounds: usize) -> (Vec<String>, Vec<u32>) {
    assert!(script.starts_with("#!ipxe\n"), "{script}");
    let lines: Vec<&str> = script.lines().collect();
    let label = |name: &str| lines.iter().position(|it| *it == format!(":{name}")).expect(name);
    let (mut at, mut chains, mut waits) = (1, Vec::new(), Vec::new());
    let mut set = std::collections::BTreeMap::new();
    for _ in 0..rounds {
        let line = *lines.get(at).unwrap_or_else(|| panic!("the script ends:\n{script}"));
        at += 1;
        if line.starts_with(':') || line.is_empty() {
            continue;
        }
        let (command, or) = match line.split_once(" ||") {
            Some((command, or)) => (command, Some(or.trim())),
            None => (line, None),
        };
        let words: Vec<&str> = command.split(' ').collect();
        let failed = match words[0] {
            "set" => {
                let value =
                    words[2..].join(" ").replace("${step}", set.get("step").map_or("", String::as_str));
                set.insert(words[1].to_owned(), value);
                false
            }
            "sleep" => {
                waits.push(words[1].parse().unwrap());
                false
            }
            "echo" => false,
            "goto" => {
                at = label(words[1]);
                false
            }
            "chain" => {
                let again = set.get("again").map_or("", String::as_str);
                chains.push(words.last().unwrap().replace("${again}", again));
                true
            }
            "kernel" | "initrd" | "boot" | "imgfree" | "imgfetch" | "sanboot" | "iseq" | "dhcp" => true,
            other => panic!("{other} is no command of ours:\n{script}"),
        };
        match or {
            Some(or) if failed => match or.strip_prefix("goto ") {
                Some(name) => at = label(name),
                None => assert!(or.is_empty(), "{line}"),
            },
            None => assert!(!failed, "{line} ends the script:\n{script}"),
            Some(_) => {}
        }
    }
    (chains, waits)
}

#[sqlx::test(migrator = "boot::MIGRATIONS")]
async fn ipxe_asks_for_ever_and_never_in_step(db: PgPool) {
    let folder = tempfile::tempdir().unwrap();
    let (socket, _serving) = serve_inventory(folder.path(), rows(&[]));
    let service = Running::live("", folder.path(), db, &socket).await;
    service
        .put(json!({"macs": [MAC], "kernel": "http://h/k", "initrd": "http://h/i", "params": "quiet"}))
        .await;
    let known = format!("mac={MAC}");
    let (chains, waits) = walk(&service.ipxe(&known).await, 100);
    let url =
        "http://172.16.0.254:8081/apis/bss/boot/v1/bootscript?mac=ec:e7:a7:05:a1:fc&retry=1&failed=kernel";
    assert!(chains.len() > 8 && chains.iter().all(|it| it == url), "{chains:?}");
    assert!((5..=15).contains(&waits[0]) && waits[1] < waits[2] && waits[2] < waits[3], "{waits:?}");
    let (_, late) = walk(&service.ipxe(&format!("{known}&retry=9&failed=kernel")).await, 20);
    assert!((60..=180).contains(&late[0]), "{late:?}");
    let mut first = BTreeSet::new();
    for _ in 0..60 {
        first.insert(walk(&service.ipxe(&known).await, 20).1[0]);
    }
    assert!(first.len() > 6, "{first:?}");
    // Those without anything to boot: known, unknown, and asked again.
    for query in ["mac=ec:e7:a7:05:a2:28", "mac=02:00:00:00:00:99", "mac=zz&arch=x86_64&retry=3"] {
        let script = service.ipxe(query).await;
        assert!(script.contains("\ndhcp || goto again\n"), "{script}");
        assert!(walk(&script, 60).1.iter().all(|it| (7..=13).contains(it)), "{script}");
    }
    service.put(json!({"macs": [MAC], "kernel": "local-disk"})).await;
    let script = service.ipxe(&known).await;
    assert!(script.contains("iseq ${platform} efi && goto efi ||\n"), "{script}");
    assert!(walk(&script, 60).0.iter().all(|it| it.ends_with("&failed=disk")), "{script}");
    service.stop().await;
}

/// A root that this head serves is named by the address that the machine reaches.
#[sqlx::test(migrator = "boot::MIGRATIONS")]
async fn a_path_is_on_the_head(db: PgPool) {
    let folder = tempfile::tempdir().unwrap();
    let (socket, _serving) = serve_inventory(folder.path(), rows(&[]));
    let table = "[boot.discovery]\nimage = \"discovery:latest\"\nparams = \"quiet\"\n";
    let service = Running::live(table, folder.path(), db, &socket).await;
    let script = service.ipxe("mac=02:00:00:00:00:99&arch=x86_64").await;
    let head = "http://172.16.0.254:8080/images/discovery/latest";
    let kernel =
        format!("kernel --name kernel {head}/kernel initrd=initrd root=live:{head}/root rd.live.image ");
    assert!(
        script.contains(&kernel) && script.contains(&format!("initrd --name initrd {head}/initrd ||")),
        "{script}"
    );
    assert!(script.contains(" quiet ds=nocloud-net;s="), "{script}");
    let first = service.ipxe("mac=02:00:00:00:00:99").await;
    assert!(first.contains("&arch=${buildarch}&retry=1 || goto again"), "{first}");
    service.stop().await;
}
