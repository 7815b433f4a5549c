//! JSON, tables, YAML and bombs, taken apart.

use super::*;

fn of(text: &str) -> Document {
    Document::read("f", text.as_bytes()).expect("text is taken apart")
}

#[test]
fn json_is_found_alone_in_lines_and_between_log_lines() {
    let one = of("\u{feff}{\"a\": 1}\r\n");
    assert_eq!(one.values.len(), 1);
    assert!(one.only_values);
    assert_eq!(of("{\"a\":1}\n{\"a\":2}\n\n{\"a\":3}").values.len(), 3);
    let log =
        of("# cmd: x\n[INFO] {start}\n[\n  {\"a\": [1,\n 2]}\n]\n=== stderr ===\n{\"b\":2} tail");
    assert!(!log.only_values);
    assert_eq!(
        log.values,
        [
            (3, serde_json::json!([{"a": [1, 2]}])),
            (8, serde_json::json!({"b": 2}))
        ]
    );
}

#[test]
fn what_python_writes_for_no_number_is_absent_and_said() {
    let document =
        of("{\"a\": NaN, \"b\": -Infinity, \"c\": \"NaN\", \"d\": 1e999, \"e\": \"\\ud83d\"}");
    assert_eq!(
        document.values[0].1,
        serde_json::json!({"a": null, "b": null, "c": "NaN", "d": null, "e": "\u{fffd}"})
    );
    assert!(
        document.notes[0].starts_with("3 values"),
        "{:?}",
        document.notes
    );
}

#[test]
fn a_doubled_key_is_said_with_its_line() {
    let document = of("{\"a\": 1,\n\"a\": 2}");
    assert_eq!(document.values[0].1["a"], 2);
    assert!(
        document.notes[0].starts_with("line 2:"),
        "{:?}",
        document.notes
    );
}

#[test]
fn a_cut_value_is_named_by_its_line() {
    let document = of("log\n{\"a\": 1}\n{\"a\": [1, 2");
    assert_eq!((document.values.len(), document.cut), (1, Some(3)));
    let list = of("[\n{\"a\": 1},\n{\"a\": 2},\n{\"a\": ");
    assert_eq!(list.cut, Some(1));
    assert_eq!(
        list.values,
        [
            (1, serde_json::json!({"a": 1})),
            (1, serde_json::json!({"a": 2}))
        ]
    );
}

#[test]
fn bombs_end_bounded() {
    assert_eq!(of(&"[".repeat(1 << 20)).values.len(), 0);
    assert_eq!(of(&"[\n".repeat(1 << 20)).values.len(), 0);
    assert_eq!(of(&"{\"a\":".repeat(1 << 18)).values.len(), 0);
    let laughs: Vec<String> = (1..40)
        .map(|n| format!("k{n}: &k{n} [*k{0}, *k{0}, *k{0}]\n", n - 1))
        .collect();
    let document = of(&format!("k0: &k0 [lol]\n{}", laughs.concat()));
    assert!(document.values.is_empty());
    assert!(document.notes[0].contains("YAML"), "{:?}", document.notes);
}

#[test]
fn no_text_is_refused_with_what_to_do() {
    for (bytes, word) in [
        (b"\x1f\x8b\x08\0".as_slice(), "unpack"),
        (b"\xff\xfe{\0}\0", "UTF-8"),
        (b" \n", "empty"),
        (b"{\0}\0", "NUL"),
    ] {
        let refused = Document::read("f", bytes)
            .expect_err("it is refused")
            .to_string();
        assert!(refused.contains(word), "{refused}");
    }
    let long = vec![b' '; MAX_FILE_BYTES + 1];
    assert!(matches!(
        Document::read("f", &long),
        Err(ImportError::TooLong { .. })
    ));
}

#[test]
fn tables_keep_their_rows_across_log_lines_and_know_the_text_around_them() {
    let document = of(
        "first card\n| model | t/s |\n| --- | --: |\nggml: found\n| a | 1 ± 2 |\n\nbuild: x\nsecond card\n| model | t/s |\n|:--|--:|\n| b | 2 |\nend",
    );
    let lines = document.lines();
    let [first, second] = document.tables.as_slice() else {
        panic!("two tables: {:?}", document.tables);
    };
    assert_eq!(first.rows, [(5, vec!["a".to_owned(), "1 ± 2".to_owned()])]);
    assert_eq!(lines[first.before.clone()], ["first card"]);
    assert_eq!(lines[first.after.clone()], ["", "build: x", "second card"]);
    assert_eq!(lines[second.before.clone()], lines[first.after.clone()]);
    assert_eq!(lines[second.after.clone()], ["end"]);
}

#[test]
fn comma_separated_rows_are_read_after_log_lines() {
    let document = of(
        "ggml: found\nbuild_commit,n_prompt,n_gen\n\"a,b\",\"1\",\"0\"\nlog line\n\"c\",\"0\",\"2\"\n",
    );
    let table = document.csv.expect("a header stands there");
    assert_eq!(table.line, 2);
    assert_eq!(table.rows.len(), 2);
    assert_eq!(
        table.rows[0],
        (3, ["a,b", "1", "0"].map(ToOwned::to_owned).to_vec())
    );
}

#[test]
fn yaml_is_read_as_an_object() {
    let document = of("benchmarks:\n- args: {rate: .inf}\n  ok: 1.5\nmetadata: null\n");
    assert_eq!(
        document.object().expect("a mapping")["benchmarks"],
        serde_json::json!([{"args": {"rate": null}, "ok": 1.5}])
    );
}
