//! Real inference servers, a balancer before two of them, and servers that misbehave.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A llama.cpp server of its own process.
#[derive(Debug)]
pub(crate) struct LlamaServer {
    child: Child,
    /// Its port on 127.0.0.1.
    pub(crate) port: u16,
}

impl LlamaServer {
    /// Serves a reference model once it returns.
    pub(crate) fn start(python: &Path, model: &Path) -> Self {
        let port = free_port();
        let child = Command::new(python)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("runner/servers/llama_cpp.py"))
            .arg("--model")
            .arg(model)
            .args(["--port", &port.to_string(), "--streams", "2"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the server starts");
        let server = Self { child, port };
        let deadline = Instant::now() + Duration::from_mins(1);
        let url = format!("http://127.0.0.1:{port}/health");
        while !super::client()
            .get(&url)
            .send()
            .is_ok_and(|answer| answer.status().is_success())
        {
            assert!(Instant::now() < deadline, "the server answers");
            thread::sleep(Duration::from_millis(50));
        }
        server
    }
}

impl Drop for LlamaServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound").port()
}

/// One address before several servers: each new connection goes to the next of them.
pub(crate) fn balancer(upstream: Vec<u16>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    thread::spawn(move || {
        for (client, port) in listener
            .incoming()
            .map_while(Result::ok)
            .zip(upstream.into_iter().cycle())
        {
            let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else {
                continue;
            };
            let copies = (client.try_clone(), server.try_clone());
            let (Ok(mut from_client), Ok(mut from_server)) = copies else {
                continue;
            };
            let (mut client, mut server) = (client, server);
            for stream in [&client, &server] {
                stream.set_nodelay(true).expect("a socket");
            }
            thread::spawn(move || {
                let _ = std::io::copy(&mut from_client, &mut server);
                let _ = server.shutdown(std::net::Shutdown::Write);
            });
            thread::spawn(move || {
                let _ = std::io::copy(&mut from_server, &mut client);
                let _ = client.shutdown(std::net::Shutdown::Both);
            });
        }
    });
    url
}

/// How a server misbehaves when it is asked to complete.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Misbehaviour {
    /// A page instead of an event stream.
    Html,
    /// Nothing after two tokens, the connection open.
    StallsMidStream,
    /// The connection closed after two tokens.
    ClosesEarly,
    /// One line that does not end for 100 MB.
    EndlessLine,
    /// Says that one token was made where the text holds eight.
    LiesAboutUsage,
}

/// A server that lists a model and then misbehaves, for as long as the test lives.
pub(crate) fn misbehaving(how: Misbehaviour) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || answer(stream, how));
        }
    });
    url
}

/// One connection: requests until it is closed.
fn answer(stream: TcpStream, how: Misbehaviour) {
    let Ok(copy) = stream.try_clone() else { return };
    let mut reader = BufReader::new(copy);
    let mut stream = stream;
    loop {
        let mut head = String::new();
        loop {
            let mut line = String::new();
            if !reader.read_line(&mut line).is_ok_and(|read| read > 0) {
                return;
            }
            if line == "\r\n" {
                break;
            }
            head.push_str(&line);
        }
        let length = head.lines().find_map(|line| {
            line.to_lowercase()
                .strip_prefix("content-length:")?
                .trim()
                .parse()
                .ok()
        });
        let mut body = vec![0; length.unwrap_or(0)];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let sent = if head.starts_with("POST") && head.contains("completions") {
            misbehave(&mut stream, how)
        } else if head.starts_with("GET /v1/models") {
            let models = r#"{"object":"list","data":[{"id":"m","object":"model"}]}"#;
            respond(&mut stream, "200 OK", "application/json", models)
        } else {
            respond(&mut stream, "404 Not Found", "application/json", "{}")
        };
        if !sent.is_ok_and(|goes_on| goes_on) {
            return;
        }
    }
}

fn respond(stream: &mut TcpStream, status: &str, kind: &str, body: &str) -> std::io::Result<bool> {
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}"
    )?;
    Ok(true)
}

/// `true` if the connection goes on.
fn misbehave(stream: &mut TcpStream, how: Misbehaviour) -> std::io::Result<bool> {
    const EVENTS: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
    let event = |text: &str| {
        format!("data: {{\"choices\":[{{\"text\":\"{text}\",\"finish_reason\":null}}]}}\n\n")
    };
    match how {
        Misbehaviour::Html => respond(
            stream,
            "200 OK",
            "text/html",
            "<html><body>Welcome</body></html>",
        ),
        Misbehaviour::StallsMidStream | Misbehaviour::ClosesEarly => {
            write!(stream, "{EVENTS}{}{}", event("a"), event("b"))?;
            stream.flush()?;
            if matches!(how, Misbehaviour::StallsMidStream) {
                // Until the client gives up and closes.
                let _ = stream.read(&mut [0; 1]);
            }
            Ok(false)
        }
        Misbehaviour::EndlessLine => {
            write!(stream, "{EVENTS}data: ")?;
            let piece = vec![b'x'; 1 << 20];
            for _ in 0..100 {
                stream.write_all(&piece)?;
            }
            Ok(false)
        }
        Misbehaviour::LiesAboutUsage => {
            let text: String = "abcdefgh".chars().map(|c| event(&c.to_string())).collect();
            write!(
                stream,
                "{EVENTS}{text}data: {{\"choices\":[{{\"text\":\"\",\"finish_reason\":\"length\"}}],\
                 \"usage\":{{\"prompt_tokens\":5,\"completion_tokens\":1,\"total_tokens\":6}}}}\n\n\
                 data: [DONE]\n\n"
            )?;
            Ok(false)
        }
    }
}
