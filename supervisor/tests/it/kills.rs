//! The supervisor killed at every step of an apply: what is in force then is the old or the new document, and whole.

use futures_util::StreamExt as _;

use crate::apply::{DOCUMENT, Options, apply, apply_with};
use crate::fake::{LIMIT, Lab};
use crate::ours::{Cut, Ours};
use crate::trials::{second, until};

/// systemd's jobs of an apply: the guard, render, two services that changed, the target.
const JOBS: usize = 5;
/// Cases at once.
const AT_ONCE: usize = 5;

/// Everything that render writes of a document, by rendering it into a system of its own.
async fn rendered(document: &str) -> Vec<(String, String)> {
    let lab = Lab::new().await;
    let _supervisor = lab.supervisor("/bin/true").await;
    let ours = Ours::in_lab(&lab);
    apply(&lab, document).await.unwrap();
    files(&ours, &lab)
}

/// What is in force by the files of the system.
fn files(ours: &Ours, lab: &Lab) -> Vec<(String, String)> {
    let top = lab.folder.path().join("root");
    let mut folders = vec![top.join("etc")];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(&top).unwrap().display().to_string();
            if path.is_dir() {
                folders.push(path);
            } else if !name.ends_with("rendered.json") {
                files.push((name.clone(), ours.read(&name)));
            }
        }
    }
    files.sort();
    files
}

async fn cut_and_look(cut: Cut, confirm: bool, old: &[(String, String)], new: &[(String, String)]) {
    let lab = Lab::new().await;
    let mut supervisor = lab.supervisor("/bin/true").await;
    let ours = Ours::in_lab(&lab);
    apply(&lab, DOCUMENT).await.unwrap();
    ours.cut(cut, &supervisor);
    let options = if confirm { Options::from([("confirm-within", 600_u64.into())]) } else { Options::new() };
    apply_with(&lab, &second(), options).await.unwrap_err();
    assert!(ours.was_cut(), "{cut:?}");
    tokio::time::timeout(LIMIT, supervisor.wait()).await.unwrap().unwrap();
    // Whatever was cut in the middle is one of the two, whole, once the supervisor has taken it up.
    let _again = lab.supervisor("/bin/true").await;
    let config = lab.object("", crate::apply::CONFIG).await;
    if confirm {
        // It waits, where it was going to; then it is given up.
        let rolled: zbus::Result<u64> = config.call("Rollback", &(0_u64, Options::new())).await;
        assert!(rolled.is_ok(), "{cut:?}: {rolled:?}");
    }
    until(&lab, "Pending", 0).await;
    let generation: u64 = config.get_property("Generation").await.unwrap();
    let (document, files_of) = if generation == 1 { (DOCUMENT.to_owned(), old) } else { (second(), new) };
    assert!(generation == 1 || (generation == 2 && !confirm), "{cut:?}: {generation}");
    assert_eq!(ours.read("etc/pilothouse/pilothouse.toml"), document, "{cut:?}");
    let found = files(&ours, &lab);
    assert!(found == files_of, "{cut:?}: {found:#?}");
    ours.await_guards().await;
    // And it is no dead end.
    assert_eq!(apply(&lab, &second()).await.unwrap(), 3, "{cut:?}");
}

#[tokio::test]
async fn a_kill_at_any_step_leaves_the_old_or_the_new_one() {
    let (old, new) = (rendered(DOCUMENT).await, rendered(&second()).await);
    assert_ne!(old, new);
    let (old, new) = (&old, &new);
    let sides = [false, true];
    let cuts = (0..JOBS).flat_map(|job| sides.map(|done| Cut { job, done }));
    let cases = cuts.flat_map(|cut| sides.map(|confirm| (cut, confirm)));
    // They wait most of the time, each in a lab of its own.
    let all = futures_util::stream::iter(cases);
    all.for_each_concurrent(AT_ONCE, async |(cut, confirm)| cut_and_look(cut, confirm, old, new).await).await;
}
