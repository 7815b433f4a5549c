//! What is taken out of bytes, and what stays in them.

use super::*;

fn redacted(text: &str) -> (String, u32) {
    let (bytes, places) = redact(text.as_bytes());
    assert_eq!(bytes.len(), text.len());
    let twice = redact(&bytes);
    assert_eq!(
        (twice.0, twice.1),
        (bytes.clone(), 0),
        "a second time nothing is found: {text}"
    );
    (
        String::from_utf8(bytes).expect("only whole texts are blanked"),
        places,
    )
}

#[test]
fn command_lines_under_any_of_their_keys_are_taken_out() {
    for (text, expected) in [
        (
            r#"{"cmd": "genai-bench --api-key abc", "n": 1}"#,
            r#"{"cmd": "xxxxxxxxxxx xxxxxxxxx xxx", "n": 1}"#,
        ),
        (
            r#"{"cli_command":"a \"b\" c"}"#,
            r#"{"cli_command":"x xxxxx x"}"#,
        ),
        (
            r#"{"argv": ["-m", "x y"], "n": [1]}"#,
            r#"{"argv": ["xx", "x x"], "n": [1]}"#,
        ),
        (
            r#"{"bench_arguments":["-m","/m"]}"#,
            r#"{"bench_arguments":["xx","xx"]}"#,
        ),
        (
            r#"{"env": {"HF_HOME": "/data", "N": 3}}"#,
            r#"{"env": {"HF_HOME": "xxxxx", "N": 3}}"#,
        ),
        (
            "# cmd: ./llama-bench -m a\n[1]",
            "x xxxx xxxxxxxxxxxxx xx x\n[1]",
        ),
        ("me@box:~$ ls -l\nend", "xxxxxxxxx xx xx\nend"),
        ("```bash\nuvx x\n```\n| a |", "```bash\nxxx x\n```\n| a |"),
        ("vllm serve \\\n  --x y\nz", "vllm serve \\\n  --x y\nz"),
        (
            "vllm serve -q \\\n  --x y\nz",
            "xxxx xxxxx xx x\n  xxx x\nz",
        ),
        (
            "command:\n  - run\n  - \"me\"\nnext: 1\n",
            "command:\n  - xxx\n  - \"xx\"\nnext: 1\n",
        ),
    ] {
        assert_eq!(redacted(text).0, expected);
    }
}

#[test]
fn settings_and_counts_stay() {
    for text in [
        r#"{"args": {"rate": 1, "profile": "sweep"}}"#,
        r#"{"model_args": "pretrained=Qwen/Qwen3-8B,dtype=auto"}"#,
        r#"{"token": 12, "tokens": "many", "eos_token": "</s>", "token": " the"}"#,
        "llama-bench: benchmark 1/1: starting",
        "| llama 7B Q4_0 | 3.56 GiB | pp512 | 1.0 |",
        r#"{"cmd": null, "password": "", "dataset_path": "None", "secret": "None"}"#,
        "task-1234567890abcdef0 /homepage/x hf_models/qwen",
    ] {
        assert_eq!(redacted(text), (text.to_owned(), 0));
    }
}

#[test]
fn secrets_are_found_by_key_flag_shape_and_address() {
    for (text, secret) in [
        (r#"{"api_key": "a1"}"#, "a1"),
        (r#"{"x": "{\"api_key\": \"a1b\"}"}"#, "a1b"),
        (r#"{"password": 4711}"#, "4711"),
        (
            r#"{"headers": {"Authorization": "Bearer zz99zz99"}}"#,
            "zz99",
        ),
        (r#"{"model_args": "model=m,api_key=s3cret"}"#, "s3cret"),
        ("cmd = run api_key=s3cret", "s3cret"),
        ("base_url=u,api_key=s3cret,x=1", "s3cret"),
        ("HF_TOKEN=hf_x python", "hf_x"),
        ("run --api-key s3cret!", "s3cret"),
        (r#"["--api-key", "s3cret"]"#, "s3cret"),
        ("curl Authorization: Bearer abcdefgh1", "abcdefgh1"),
        ("key sk-proj-abcdefghij0123456789 end", "abcdefghij"),
        ("hf_abcdefghijklmnopqrst1", "abcdefghij"),
        ("ghp_0123456789abcdefghij", "0123456789"),
        ("AKIAIOSFODNN7EXAMPLE", "IOSFODNN7"),
        ("postgres://me:pass@db.example/x", "pass"),
        ("https://me%40x:p@ss@host/v1", "ss@"),
        ("/home/someone/models/a.gguf", "someone"),
        (r"C:\\Users\\Some.One\\a.gguf", "Some"),
        (r"\/home\/someone\/a.gguf", "someone"),
        ("/Users/jürgen/x", "rgen"),
        (r"C:\Users\Some One\a.gguf", "One"),
    ] {
        let (kept, places) = redacted(text);
        assert!(places > 0 && !kept.contains(secret), "{text} became {kept}");
    }
    assert!(
        redacted("/home/someone/models/a.gguf")
            .0
            .ends_with("/models/a.gguf")
    );
    assert!(
        redacted("postgres://me:pass@db.example/x")
            .0
            .ends_with("@xxxxxxxxxx/x")
    );
}

#[test]
fn secrets_are_found_under_any_name_and_in_any_dress() {
    for (text, secret) in [
        (
            r#"{"u": "http:\/\/bob:hunter\/v1@h.example\/v1"}"#,
            "hunter",
        ),
        ("http://bob:pa/ss#w0rd@h.example/v1 end", "w0rd"),
        ("https://hf.co/x?token=abc", "abc"),
        ("https://hf.co/x?a=1&sig=abc%2Bd&b=2", "abc"),
        ("https://hf.co/x?X-Amz-Signature=abcd&x", "abcd"),
        ("https://hf.co/x?key=abc", "abc"),
        (r#"{"clientSecret": "abc"}"#, "abc"),
        (r#"{"accessToken": "abc"}"#, "abc"),
        (r#"{"apiKeys": ["abc"]}"#, "abc"),
        (r#"{"my_token": "abc"}"#, "abc"),
        (r#"{"service_key": "abc"}"#, "abc"),
        (r#"{"dbPass": "abc"}"#, "abc"),
        (r#"{"cliArgs": "serve --port 1"}"#, "port"),
        ("HUGGING_FACE_HUB_TOKEN=abc x", "abc"),
        (r#"[["api_key", "abc"], 1]"#, "abc"),
        (r#"{"name": "api_key", "value": "abc"}"#, "abc"),
        (r#"{"name" : "apiKey" , "value" : "abc"}"#, "abc"),
        ("sk-abcdefghijklmnopqrstuvwxyzabcdefgh", "klmnop"),
        (r#"{"model_args": "pretrained=m,token=abc"}"#, "abc"),
        ("curl -u bob:abc x", "abc"),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nMIIabc\n-----END RSA PRIVATE KEY-----",
            "MIIabc",
        ),
        (
            r#"{"k": "-----BEGIN PRIVATE KEY-----\nMIIabc\n"}"#,
            "MIIabc",
        ),
        (r#"{"how": "serve me --port 1 --secret-thing abc"}"#, "abc"),
        ("how: serve me --port 1 --thing abc", "abc"),
    ] {
        let (kept, places) = redacted(text);
        assert!(places > 0 && !kept.contains(secret), "{text} became {kept}");
    }
}

#[test]
fn machines_and_people_are_not_named() {
    for (text, private) in [
        (r#"{"x": "http://box.corp.example:8000/v1"}"#, "corp"),
        (r#"{"x": "http:\/\/box.corp.example\/v1"}"#, "corp"),
        (r#"{"host": "box"}"#, "box"),
        (r#"{"hostname": "box"}"#, "box"),
        (r#"{"target": "box.corp:8000"}"#, "corp"),
        (r#"{"base_url": "box.corp:8000/v1"}"#, "corp"),
        (r#"{"baseUrl": "box.corp/v1"}"#, "corp"),
        (r#"{"ip": "203.0.113.7"}"#, "203.0"),
        (r#"{"user": "alice"}"#, "alice"),
        (r#"{"userName": "alice"}"#, "alice"),
        (r#"{"email": "a@b.example"}"#, "b.example"),
        (r#"{"server": "box"}"#, "box"),
        (r#"{"model_id": "10.0.0.5:8000/m"}"#, "10.0.0.5"),
        ("reached 192.168.1.7 at once", "192.168"),
        (r"c:\users\alice\a.gguf", "alice"),
        ("c:/users/alice/a.gguf", "alice"),
        ("/users/alice/a.gguf", "alice"),
        (r#"{"x": "C:/Users/Alice Smith/models"}"#, "Smith"),
        (r#"{"x": "C:/Users/Alice Smith"}"#, "Smith"),
        (r#"{"x": "C:\\Users\\Alice Smith"}"#, "Smith"),
        ("/scratch/alice/a.gguf", "alice"),
        ("/workspace/alice/a.gguf", "alice"),
    ] {
        let (kept, places) = redacted(text);
        assert!(
            places > 0 && !kept.contains(private),
            "{text} became {kept}"
        );
    }
}

#[test]
fn what_is_public_or_a_figure_stays() {
    for text in [
        r#"{"x": "https://huggingface.co/Qwen/Qwen3-8B", "y": "http://localhost:8000/v1"}"#,
        "https://github.com/ggml-org/llama.cpp/tree/x@y http:\\/\\/127.0.0.1:8000",
        r#"{"time_per_output_token": {"unit": "ms"}, "time_to_first_token": {"unit": "ms"}}"#,
        r#"{"output_token_throughput_per_user": {"unit": "tokens/sec/user"}}"#,
        r#"{"endpoint": "/v1/completions", "endpoint_type": "vllm", "host": "localhost"}"#,
        r#"{"pass": 12, "max_tokens": 512, "my_key": 3, "pad_token": "<|endoftext|>"}"#,
        "name,joules_per_token,x_key\nm,0.5,3\n",
        "/workspace/a.gguf /x/hub/models--acme--m/b driver 10.0.22631.1 b10.0.0.1",
        "what -u is --for one flag",
    ] {
        assert_eq!(redacted(text), (text.to_owned(), 0));
    }
}

#[test]
fn a_block_of_shell_keeps_the_results_in_it() {
    let text = "Mine:\n```console\nme@box:~$ ./llama-bench -m m.gguf \\\n  -p 512\n\
        | model | backend | test | t/s |\n| --- | --- | --- | --- |\n\
        | llama 7B Q4_0 | CUDA | tg128 | 20.50 ± 0.10 |\n\nbuild: abc (12)\n```\n";
    let (kept, _) = redacted(text);
    assert!(
        !kept.contains("llama-bench") && !kept.contains("512"),
        "{kept}"
    );
    let imported = crate::import::read("post.md", kept.as_bytes()).expect("a table stands there");
    assert_eq!(imported.rows[0].decode_tokens_per_second, Some(20.5));
    assert_eq!(
        imported.rows[0].engine_version.as_deref(),
        Some("b12 (abc)")
    );
    let open = "```bash\n| a | b |\nplain words\n";
    assert_eq!(redacted(open), (open.to_owned(), 0));
}

#[test]
fn columns_of_a_table_are_taken_out_by_their_names() {
    let text = "n_gen,command,api_key\n1,\"run \"\"a\"\", b\",k1\n2,,\n3,vllm,\"k\n2\"\n";
    assert_eq!(
        redacted(text).0,
        "n_gen,command,api_key\n1,\"xxx xxxxxx x\",xx\n2,,\n3,xxxx,\"x\nx\"\n"
    );
}

#[test]
fn json_stays_json_with_the_same_keys() {
    let text = r#"{"cmd": "a \"q\" \u00e9", "args": ["--x", "y"], "api_key": 12, "r": {"v": 1.5}}"#;
    let (kept, _) = redacted(text);
    let value: serde_json::Value = serde_json::from_str(&kept).expect("it stays JSON");
    assert_eq!(value["r"]["v"], 1.5);
    assert_eq!(value.as_object().map(serde_json::Map::len), Some(4));
}

proptest::proptest! {
    #[test]
    fn any_bytes_keep_their_length_and_lines(
        bytes in proptest::collection::vec(
            proptest::prop_oneof![
                proptest::prelude::any::<u8>(),
                proptest::sample::select(b"\"':=[]{}\\ \n-x|>".as_slice()),
            ],
            0..200,
        ),
        key in proptest::sample::select(vec!["cmd", "args", "api_key", "token", "env", "/home", "://", "--token"]),
        at in 0_usize..200,
    ) {
        let mut bytes = bytes;
        let at = at.min(bytes.len());
        bytes.splice(at..at, key.bytes());
        let (kept, _) = redact(&bytes);
        proptest::prop_assert_eq!(kept.len(), bytes.len());
        let places = |it: &[u8]| it.iter().map(|it| *it == b'\n').collect::<Vec<_>>();
        proptest::prop_assert_eq!(places(&kept), places(&bytes));
    }
}

#[test]
fn repetitions_without_end_take_no_time_without_end() {
    for part in [
        "\"args\":[",
        "\"args\":{",
        "\"cmd\":[",
        "cmd=",
        "api_key=",
        "sk-",
        "eyJ",
        "--token=",
        "cmd:|",
        "://a:",
        "\\Users\\",
        "args: ",
        "://",
        ":\\/\\/",
        "://@",
        "PRIVATE KEY-----",
        "-----END",
        " --a",
        "\",",
        "[\"api_key\",",
        "c:/users",
        "/users/a ",
        "1.",
        "```bash\n",
    ] {
        let text = part.repeat((1 << 18) / part.len());
        assert_eq!(redact(text.as_bytes()).0.len(), text.len(), "{part}");
    }
}

proptest::proptest! {
    #[test]
    fn a_second_time_nothing_is_found(
        parts in proptest::collection::vec(
            proptest::sample::select(vec![
                "{\"", "\": \"", "\", \"", "\"}", "\n", " ", ", ", "/", "\\", "\\\"", "@", ":", "=", "a", "b1",
                "api_key", "token", "host", "url", "cmd", "args", "name", "value", "://", ":\\/\\/", "/home/",
                "C:\\Users\\", "--a", " --b ", "sk-abcdefghijklmnop1", "10.0.0.5:80", "| ", "```bash\n",
                "```\n", "-----BEGIN PRIVATE KEY-----", "Bearer abcdefgh1", "- ", "?sig=",
            ]),
            0..24,
        ),
    ) {
        let text = parts.concat();
        let (once, _) = redact(text.as_bytes());
        proptest::prop_assert_eq!(once.len(), text.len());
        let (twice, _) = redact(&once);
        proptest::prop_assert_eq!(
            String::from_utf8_lossy(&twice), String::from_utf8_lossy(&once), "{}", text
        );
    }
}
