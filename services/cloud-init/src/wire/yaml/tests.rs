#![expect(clippy::unwrap_used, reason = "tests")]

use serde_json::{Value, json};

use super::to_yaml;

fn yaml(value: Value) -> String {
    to_yaml(&value.as_object().unwrap().clone().into_iter().collect())
}

/// Recording `cloud-init-legacy-057`, but for the large integer, which the original turns into a float.
#[test]
fn values_are_quoted_as_recorded() {
    let written =
        yaml(json!({"s": "a: b", "n": 1.5, "big": 12345678901_i64, "b": true, "nul": null, "l": [],
        "m": {}, "multi": "line1\nline2\n", "mode": "0644", "yes": "yes", "date": "2024-01-01", "u": "\u{e9}",
        "colon": "x: y", "hash": "# c", "tmpl": "{{ ds.meta_data.x }}"}));
    let expected = "b: true\nbig: 12345678901\ncolon: 'x: y'\ndate: \"2024-01-01\"\nhash: '# c'\n\
        l: []\nm: {}\n\
        mode: \"0644\"\nmulti: |\n  line1\n  line2\n\"n\": 1.5\nnul: null\ns: 'a: b'\n\
        tmpl: '{{ ds.meta_data.x }}'\n\
        u: \u{e9}\n\"yes\": \"yes\"\n";
    assert_eq!(written, expected);
}

/// Recording `cloud-init-legacy-016` and `-017`.
#[test]
fn collections_nest_as_recorded() {
    let written =
        yaml(json!({"write_files": [{"path": "/etc/test123", "content": "blah"}], "runcmd": ["echo hello"],
        "deep": {"a": [1, 2]}}));
    let expected = "deep:\n  a:\n  - 1\n  - 2\nruncmd:\n- echo hello\n\
        write_files:\n- content: blah\n  path: /etc/test123\n";
    assert_eq!(written, expected);
    assert_eq!(
        yaml(json!({"a": [[1, 2], [], {}, [{"b": {"c": 1}}]]})),
        "a:\n- - 1\n  - 2\n- []\n- {}\n- - b:\n      c: 1\n"
    );
    assert_eq!(yaml(json!({})), "{}\n");
}

/// As yaml.v2 2.4 does it.
#[test]
fn a_long_text_goes_on_in_the_next_line() {
    let (long, end) = ("x".repeat(70), "y".repeat(20));
    let key = format!("ssh-ed25519 {long} someone@somewhere and {end}");
    assert_eq!(
        yaml(json!({"keys": [key]})),
        format!("keys:\n- ssh-ed25519 {long}\n  someone@somewhere and {end}\n")
    );
    assert_eq!(
        yaml(json!({"a": {"k": format!("{long}: {end}  {end} b")}})),
        format!("a:\n  k: '{long}: {end}  {end}\n    b'\n")
    );
    assert_eq!(
        yaml(json!({"k": format!("\u{7}{long}{end}  b c")})),
        format!("k: \"\\a{long}{end}\n  \\ b c\"\n")
    );
    for text in [
        format!("{long} {end} {long}  {end}"),
        format!("# {long} {end}  {long}   {end} "),
        format!("\u{7}{long} {end}   {long} {end} "),
    ] {
        let read: serde_json::Value = serde_saphyr::from_str(&yaml(json!({"k": text}))).unwrap();
        assert_eq!(read["k"], text);
    }
}

#[test]
fn keys_are_in_natural_order() {
    let written = yaml(json!({"a10": 1, "a2": 1, "b": 1, "_x": 1, "A": 1, "a": 1}));
    assert_eq!(written, "_x: 1\nA: 1\na: 1\na2: 1\na10: 1\nb: 1\n");
}

#[test]
fn a_text_of_several_lines_is_a_block_where_a_block_can_hold_it() {
    assert_eq!(yaml(json!({"t": "a\nb"})), "t: |-\n  a\n  b\n");
    assert_eq!(yaml(json!({"t": "a\n\n"})), "t: |+\n  a\n\n");
    assert_eq!(yaml(json!({"t": "  a\nb\n"})), "t: |2\n    a\n  b\n");
    assert_eq!(yaml(json!({"t": [{"c": "#!/bin/sh\n\necho\n"}]})), "t:\n- c: |\n    #!/bin/sh\n\n    echo\n");
    assert_eq!(yaml(json!({"t": ["a\nb\n"]})), "t:\n- |\n  a\n  b\n");
    assert_eq!(yaml(json!({"t": "a \nb"})), "t: \"a \\nb\"\n");
    assert_eq!(yaml(json!({"t": "a\tb\n"})), "t: \"a\\tb\\n\"\n");
    assert_eq!(yaml(json!({"t": "a\r\nb"})), "t: \"a\\r\\nb\"\n");
}

#[test]
fn what_would_be_read_as_something_else_is_quoted() {
    for text in [
        "",
        "~",
        "null",
        "Null",
        "NULL",
        "y",
        "Y",
        "No",
        "on",
        "OFF",
        "True",
        "1",
        "-1",
        "+1",
        "0x1f",
        "0b1",
        "0o7",
        "1_000",
        "1.5",
        ".5",
        "1.",
        "1e3",
        "1.5e+3",
        ".inf",
        "-.INF",
        ".NaN",
        "<<",
        "=",
        "12:30",
        "1:02:03.5",
        "2024-01-01",
        "2024-1-1T00:00:00Z",
        "10:20:30:40:50:59",
        "089",
    ] {
        assert_eq!(yaml(json!({"t": text})), format!("t: \"{text}\"\n"));
    }
    for text in [
        "nope",
        "nULL",
        "172.16.0.1",
        "1.2.3",
        "ec:e7:a7:05:a1:fc",
        "a#b",
        "a:b",
        "-a",
        "x, y",
        "a [b]",
        "e5",
        "-",
        "0xg",
        "1e",
        "http://h:80/x?a=b&c",
        "2024-01",
        "it's",
        "a\"b",
        "C:\\dir",
        ".",
    ] {
        let plain = yaml(json!({"t": text}));
        let expected = if text == "-" { "t: '-'\n".to_owned() } else { format!("t: {text}\n") };
        assert_eq!(plain, expected);
    }
    for text in [
        "- a", "? a", "a: b", "a:", "a #b", " a", "a ", "{a}", "[a", "*a", "&a", "!a", "|", ">", "%a", "@a",
        "`a", "\"a", ",a", "---", "... a", ":",
    ] {
        assert_eq!(yaml(json!({"t": text})), format!("t: '{text}'\n"));
    }
    assert_eq!(yaml(json!({"t": "'a"})), "t: '''a'\n");
    assert_eq!(yaml(json!({"t": "\u{7f}\u{85}\u{2028}\u{1b}"})), "t: \"\\x7F\\N\\L\\e\"\n");
}

#[test]
fn a_float_keeps_the_form_that_yaml_1_1_reads() {
    assert_eq!(
        yaml(json!({"t": [1e300, 1.5e-9, 1e20, 0.1]})),
        "t:\n- 1.0e+300\n- 1.5e-9\n- 1.0e+20\n- 0.1\n"
    );
}

/// What is written is read back as it was by a reader of our own dependencies.
#[test]
fn what_is_written_is_read_back() {
    let value = json!({"a": ["x: y", "", "null", "- q", "t\n", "\n", "\n\n", "  i\nj", "é\u{1f600}", "#",
        "a\nb \nc"],
        "b": {"c": {"d": [[{"e": "12:30"}]]}}, "n": [0, -5, 12345678901_i64, 1.5, true, null, {}, []]});
    let read: Value = serde_saphyr::from_str(&yaml(value.clone())).unwrap();
    assert_eq!(read, value);
}
