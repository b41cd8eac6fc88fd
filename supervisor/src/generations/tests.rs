use super::{About, Generations, Pending, Stage};

fn pending(generation: u64, base: Option<u64>) -> Pending {
    Pending {
        generation,
        base,
        boot: "now".to_owned(),
        deadline_us: 100,
        confirm: true,
        stage: Stage::Applying,
        why: String::new(),
        restored: false,
    }
}

fn folder() -> (tempfile::TempDir, Generations) {
    let folder = tempfile::tempdir().unwrap();
    let generations = Generations::new(folder.path());
    (folder, generations)
}

fn states(generations: &Generations) -> Vec<String> {
    generations.history().into_iter().map(|it| it.outcome.state).collect()
}

#[test]
fn generations_are_numbered_and_one_is_in_force() {
    let (_folder, generations) = folder();
    assert_eq!((generations.applied(), generations.pending()), (None, None));
    let about = About { author: "alice".to_owned(), reason: "first".to_owned(), ..About::default() };
    assert_eq!(generations.add("a", &about).unwrap(), 1);
    generations.begin(&pending(1, None)).unwrap();
    assert!(generations.begin(&pending(1, None)).is_err(), "one at a time");
    generations.commit(1, 99).unwrap();
    assert_eq!(generations.add("b", &about).unwrap(), 2);
    generations.begin(&pending(2, Some(1))).unwrap();
    assert_eq!(generations.applied(), Some(1));
    assert_eq!(states(&generations), ["in force", "applying"]);
    generations.turn_back(2, "it fails").unwrap().unwrap();
    generations.forget(2, "reverted", "it fails").unwrap();
    assert_eq!(states(&generations), ["in force", "reverted"]);
    assert_eq!(generations.history()[1].outcome.detail, "it fails");
    assert_eq!(generations.history()[0].about, about);
    assert_eq!(generations.add("c", &about).unwrap(), 3, "a number is used once");
    assert_eq!(generations.read(2).unwrap(), "b");
}

#[test]
fn what_was_confirmed_is_never_turned_back_nor_the_other_way() {
    let (folder, generations) = folder();
    for number in [1, 2, 3] {
        assert_eq!(generations.add("a", &About::default()).unwrap(), number);
    }
    generations.begin(&pending(1, None)).unwrap();
    generations.commit(1, 99).unwrap();
    assert_eq!(generations.turn_back(1, "").unwrap(), None);
    // A cut between the two marks of a commit.
    std::fs::write(folder.path().join("pending"), serde_json::to_string(&pending(1, None)).unwrap()).unwrap();
    assert_eq!((generations.pending(), generations.turn_back(1, "").unwrap()), (None, None));
    generations.begin(&pending(2, Some(1))).unwrap();
    generations.arrive(2, 99).unwrap();
    assert!(generations.commit(2, 100).is_err(), "its time is over");
    assert!(generations.commit(3, 0).is_err(), "another one");
    generations.turn_back(2, "late").unwrap().unwrap();
    assert!(generations.commit(2, 0).is_err() && generations.arrive(2, 0).is_err());
    assert_eq!(generations.applied(), Some(1));
}

#[test]
fn a_deadline_holds_in_its_boot_alone() {
    let pending = pending(2, Some(1));
    assert!(!pending.is_over("now", 99) && pending.is_over("now", 100) && pending.is_over("later", 0));
}

#[test]
fn old_generations_go_and_the_one_in_force_stays() {
    let (folder, generations) = folder();
    for number in 1..=super::KEPT + 3 {
        assert_eq!(generations.add("a", &About::default()).unwrap(), number);
        if number == 2 {
            generations.begin(&pending(2, None)).unwrap();
            generations.commit(2, 0).unwrap();
        }
    }
    assert!(!folder.path().join("1").exists() && !folder.path().join("3").exists());
    assert!(generations.read(2).is_ok() && generations.read(4).is_ok());
}

#[test]
fn a_link_is_no_generation() {
    let (folder, generations) = folder();
    std::fs::create_dir(folder.path().join("7")).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", folder.path().join("7/pilothouse.toml")).unwrap();
    assert!(generations.read(7).is_err());
}
