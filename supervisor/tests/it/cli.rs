//! `pilotctl config` against the supervisor.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::apply::DOCUMENT;
use crate::fake::{LIMIT, Lab};
use crate::ours::Ours;
use crate::trials::second;

/// Built beside the supervisor, by whoever builds everything or else now.
fn program() -> PathBuf {
    if let Some(folder) = std::env::var_os("PILOTHOUSE_PROGRAMS") {
        return PathBuf::from(folder).join("pilotctl");
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = std::process::Command::new(cargo);
    build.args(["build", "--quiet", "--package", "cli"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    assert!(build.status().unwrap().success());
    Path::new(env!("CARGO_BIN_EXE_pilothouse-supervisor")).with_file_name("pilotctl")
}

/// How it ends, and what it says on stdout and stderr.
async fn pilotctl(lab: &Lab, program: &Path, words: &[&str], input: &str) -> (i32, String, String) {
    let mut child = Command::new(program)
        .arg("config")
        .args(words)
        .env("DBUS_SYSTEM_BUS_ADDRESS", &lab.address)
        .env("XDG_RUNTIME_DIR", lab.folder.path())
        .env_remove("VISUAL")
        .env("EDITOR", "sed -i -e 's/keep = 7/keep = 8/'")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // One that does not read closes it.
    stdin.write_all(input.as_bytes()).await.unwrap_or_default();
    drop(stdin);
    let output = tokio::time::timeout(LIMIT, child.wait_with_output()).await.unwrap().unwrap();
    let text = |it: &[u8]| String::from_utf8_lossy(it).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test]
async fn the_document_is_changed_from_the_command_line() {
    let lab = Lab::new().await;
    let _supervisor = lab.supervisor("/bin/true").await;
    let ours = Ours::in_lab(&lab);
    let program = program();
    let run = async |words: &[&str], input: &str| pilotctl(&lab, &program, words, input).await;
    let done = run(&["apply", "--reason", "the first one"], DOCUMENT).await;
    assert_eq!((done.0, done.1.as_str()), (0, "generation 1 is in force\n"), "{done:?}");
    assert_eq!(run(&["show"], "").await.1, DOCUMENT);

    let place = lab.folder.path().join("site.toml");
    let file = place.to_str().unwrap();
    std::fs::write(&place, DOCUMENT.replace("254/24", "0/24")).unwrap();
    let wrong = run(&["check", "-f", file], "").await;
    assert!(wrong.0 == 1 && wrong.2.contains("line 11, column"), "{wrong:?}");
    std::fs::write(&place, second()).unwrap();
    assert_eq!(run(&["check", "-f", file], "").await.0, 0);
    let differs = run(&["diff", "-f", file], "").await;
    assert!(differs.0 == 1 && differs.1.contains("+public_https = true"), "{differs:?}");
    let waits = run(&["apply", "-f", file, "--confirm-within", "10m"], "").await;
    assert!(waits.0 == 0 && waits.1.contains("generation 2 waits"), "{waits:?}");
    assert_eq!(run(&["apply", "-f", file], "").await.0, 4, "one at a time");
    assert_eq!(run(&["diff"], "").await.0, 1, "it shows the one that waits");
    assert_eq!(run(&["confirm"], "").await.1, "generation 2 is in force\n");
    assert_eq!(run(&["diff"], "").await, (0, String::new(), String::new()));

    let edited = run(&["edit", "--reason", "more logs"], "").await;
    assert!(
        edited.0 == 0 && edited.1.contains("+keep = 8") && edited.1.contains("generation 3"),
        "{edited:?}"
    );
    let same = run(&["edit"], "").await;
    assert_eq!((same.0, same.1.as_str()), (0, "nothing was changed\n"), "{same:?}");
    assert_eq!(run(&["apply", "-f", file, "--base", "2"], "").await.0, 4, "another came between");
    let back = run(&["rollback"], "").await;
    assert_eq!((back.0, back.1.as_str()), (0, "generation 4 is in force\n"), "{back:?}");
    assert_eq!(run(&["export", "-f", file], "").await.0, 0);
    assert_eq!(std::fs::read_to_string(&place).unwrap(), second());
    assert_eq!(ours.read("etc/pilothouse/pilothouse.toml"), second());

    let history = run(&["history"], "").await.1;
    for words in ["the first one", "more logs", "rollback to generation 2", "in force"] {
        assert!(history.contains(words), "{words} in\n{history}");
    }
    let schema: serde_json::Value = serde_json::from_str(&run(&["schema"], "").await.1).unwrap();
    assert_eq!(schema["properties"]["cluster"]["properties"]["name"]["type"], "string");
    lab.script.lock().unwrap().denied = true;
    assert_eq!(run(&["apply"], DOCUMENT).await.0, 4);
}
