#![expect(clippy::unwrap_used, reason = "tests")]

use serde_json::json;

use super::{Architecture, Edit, PARAMS_MAX, Settings, Variant, WORDS_MAX};

fn made(kernel: &str, params: &str) -> Result<Settings, String> {
    let edit = Edit { kernel: Some(kernel.into()), params: Some(params.into()), ..Edit::default() };
    edit.apply(None).unwrap().map_err(|it| it.to_string())
}

fn params(text: &str) -> Result<Settings, String> {
    made("http://h/k", text)
}

fn with(architecture: Architecture, variant: Option<Variant>) -> Edit {
    Edit { architectures: [(architecture, variant)].into(), ..Edit::default() }
}

#[test]
fn nothing_in_a_parameter_is_a_command() {
    for (text, place) in [
        ("quiet ${net0/mac}", "character 7"),
        ("a\nboot", "character 2"),
        ("a\rboot", "character 2"),
        ("a\tb", "character 2"),
        ("é || shell", "character 3"),
        ("a&&b", "character 2"),
        ("a ; shell", "character 3"),
        ("a #b", "character 3"),
        ("#b", "character 1"),
        ("a\0", "character 2"),
        ("a\u{85}b", "character 2"),
        ("a\u{2028}b", "character 2"),
    ] {
        assert!(params(text).unwrap_err().contains(place), "{text:?}: {:?}", params(text));
    }
    for text in ["", "ds=nocloud;s=http://x/ a=b;c", "console=ttyS0,115200 x#y $HOME {a}", "quiet  a", "a\\"]
    {
        assert!(params(text).is_ok(), "{text}");
    }
    for kernel in ["--help", "http://h/a b", "${x}", "a;b c", "", "http://h/a\u{a0}b"] {
        assert!(made(kernel, "").is_err(), "{kernel}");
    }
}

#[test]
fn what_would_be_cut_is_refused_with_the_limit() {
    assert!(params(&"a".repeat(PARAMS_MAX)).is_ok());
    assert!(params(&"a".repeat(PARAMS_MAX + 1)).unwrap_err().contains("1792"));
    assert!(params(&"a ".repeat(WORDS_MAX)).is_ok());
    assert!(params(&"a ".repeat(WORDS_MAX + 1)).unwrap_err().contains("161 words; the limit is 160"));
}

/// Rows that an older release wrote stay readable; those that hold a command are not.
#[test]
fn a_stored_row_may_be_longer_and_is_no_command() {
    let row = |params: String| serde_json::from_value::<Settings>(json!({"kernel": "k", "params": params}));
    assert!(row("a".repeat(PARAMS_MAX + 1)).is_ok());
    assert!(row("a || shell".to_owned()).is_err());
    let row = json!({"kernel": "k", "architectures": {"arm64": {"kernel": "k", "params": "${x}"}}});
    assert!(serde_json::from_value::<Settings>(row).is_err());
}

#[test]
fn a_member_that_is_left_out_stays() {
    let old =
        Edit { kernel: Some("http://h/k".into()), initrd: Some("http://h/i".into()), ..Edit::default() };
    let old = old.apply(None).unwrap().unwrap();
    let edit = Edit { params: Some("loud".into()), ..Edit::default() };
    let new = edit.apply(Some(&old)).unwrap().unwrap();
    assert_eq!((new.kernel(), new.initrd(), new.params()), ("http://h/k", "http://h/i", "loud"));
    assert!(edit.apply(None).is_none());
}

#[test]
fn an_architecture_boots_its_own_kernel() {
    let arm = Variant { kernel: "http://h/arm".into(), ..Variant::default() };
    let base = params("quiet").unwrap();
    let both = with(Architecture::Arm64, Some(arm.clone())).apply(Some(&base)).unwrap().unwrap();
    let image = both.image(Some(Architecture::Arm64));
    assert_eq!((image.kernel, image.initrd, image.params), ("http://h/arm", "", "quiet"));
    assert_eq!(both.image(Some(Architecture::X86_64)).kernel, "http://h/k");
    assert_eq!(both.image(None).kernel, "http://h/k");
    let amd = Variant { kernel: "http://h/amd".into(), params: Some("loud".into()), ..arm.clone() };
    let all = with(Architecture::X86_64, Some(amd)).apply(Some(&both)).unwrap().unwrap();
    let bios = all.image(Some(Architecture::I386));
    assert_eq!((bios.kernel, bios.params), ("http://h/amd", "loud"), "a BIOS boots 64 bits");
    let less = with(Architecture::Arm64, None).apply(Some(&all)).unwrap().unwrap();
    assert_eq!(less.architectures().len(), 1);
    assert!(with(Architecture::Arm64, Some(arm.clone())).apply(None).is_none(), "an entry has a kernel");
    let bad = Variant { kernel: "http://h/a||b".into(), ..arm };
    let error = with(Architecture::Arm64, Some(bad)).apply(Some(&base)).unwrap().unwrap_err();
    assert_eq!(error.pointer(), "/architectures/arm64/kernel");
}
