//! `limpet breaks`, without an agent and with something on the socket that answers as one.

use std::{
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::UnixListener,
    path::Path,
    process::{Child, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread::{self, JoinHandle},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{command_at, limpet, pinned::Pinned, text};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn breaks_are_counted_without_an_agent() {
    let pinned = Pinned::new("breaks");
    let lost = 2 * aya::util::nr_cpus().unwrap();
    let output = limpet(pinned.root(), &["breaks", "-A"]);
    assert!(output.status.success(), "{output:?}");
    let expected = "\
SERVICE               BACKEND-GONE  EXPIRED  TOTAL
default/web:http/TCP  1             2        3
";
    assert_eq!(text(&output.stdout), expected);
    let said = text(&output.stderr);
    assert!(said.contains(&format!("{lost} breaks on this node are in the totals alone")), "{said}");
    assert!(said.contains("not running (no socket at /nonexistent/agent.sock); these are the datapath's"), "{said}");

    let value = crate::json(&limpet(pinned.root(), &["breaks", "default/web", "-o", "json"]));
    let reasons = json!({
        "backend-gone": 1, "not-ready": 0, "draining": 0, "expired": 2, "evicted": 0, "config-changed": 0, "forgotten": 0,
    });
    let service = json!({"namespace": "default", "name": "web", "port": "http", "protocol": "TCP"});
    let totals = json!([{"service": service, "reasons": reasons, "total": 3}]);
    assert_eq!(value, json!({"node": "n1", "totals": totals, "events": null, "lost_events": lost}));

    let output = limpet(pinned.root(), &["breaks", "shop/dns"]);
    assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
    assert!(
        text(&output.stderr).contains("Service dns holds no clients here: it has no session affinity"),
        "{output:?}"
    );
    let output = limpet(pinned.root(), &["breaks", "wep"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("did you mean default/web?"), "{output:?}");
    let output = limpet(pinned.root(), &["breaks", "--since", "soon"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("as in 30s, 5m, 1h or 2d"), "{output:?}");
}

/// A break of this client, as the agent's socket has it.
fn event(sequence: u64, namespace: &str, client: &str) -> Value {
    json!({
        "sequence": sequence, "seconds_ago": 5, "client": client, "reason": "expired",
        "service": {"namespace": namespace, "name": "web", "port": "http", "protocol": "TCP"},
        "from": "default/web-1", "to": null, "held_seconds": 340,
    })
}

fn answer(first_sequence: u64, next_sequence: u64, events: &[Value]) -> Value {
    json!({"node": "n1", "first_sequence": first_sequence, "next_sequence": next_sequence, "events": events})
}

/// Answers as many questions as there are answers, then goes away with its socket; gives the questions' first lines.
fn serve(socket: &Path, answers: Vec<Value>) -> JoinHandle<Vec<String>> {
    let listener = UnixListener::bind(socket).unwrap();
    let socket = socket.to_owned();
    thread::spawn(move || {
        let mut questions = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut question = vec![0; 4096];
            let length = stream.read(&mut question).unwrap();
            questions.extend(text(&question[..length]).lines().next().map(str::to_owned));
            let body = answer.to_string();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).unwrap();
        }
        std::fs::remove_file(socket).unwrap();
        questions
    })
}

#[test]
fn breaks_are_told_one_by_one_by_the_agent() {
    let pinned = Pinned::new("told");
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("agent.sock");
    let events = [event(70, "default", "198.51.100.7"), event(71, "shop", "198.51.100.8")];
    let agent = serve(&socket, vec![answer(70, 72, &events); 2]);
    let output = command_at(&socket, pinned.root(), &["breaks", "--since", "1h"]).output().unwrap();
    let expected = "\
SERVICE               BACKEND-GONE  EXPIRED  TOTAL
default/web:http/TCP  1             2        3

AGE  SERVICE               CLIENT        REASON   FROM           TO       HELD
5s   default/web:http/TCP  198.51.100.7  expired  default/web-1  unknown  5m40s
";
    assert_eq!(text(&output.stdout), expected, "{output:?}");
    let output = command_at(&socket, pinned.root(), &["breaks", "-A", "-o", "json"]).output().unwrap();
    let clients: Vec<_> =
        crate::json(&output)["events"].as_array().unwrap().iter().map(|it| it["client"].clone()).collect();
    assert_eq!(clients, ["198.51.100.7", "198.51.100.8"]);
    let questions = agent.join().unwrap();
    assert_eq!(questions, ["GET /breaks?after=0&since_seconds=3600 HTTP/1.1", "GET /breaks?after=0 HTTP/1.1"]);
}

/// The process, killed when the test ends however it ends.
struct Watching(Child);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// The lines that are written there, as they come.
fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

#[test]
fn watching_ends_when_nobody_reads_although_nothing_happens() {
    let pinned = Pinned::new("unread");
    let mut command = command_at(Path::new("/nonexistent/agent.sock"), pinned.root(), &["breaks", "-w"]);
    let mut watching = Watching(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let said = lines(watching.0.stderr.take().unwrap());
    let note = said.recv_timeout(PATIENCE).unwrap();
    assert!(note.ends_with("; waiting for it"), "{note}");
    drop(watching.0.stdout.take());
    assert_eq!(said.recv_timeout(PATIENCE), Err(RecvTimeoutError::Disconnected), "it goes on");
    assert_eq!(watching.0.wait().unwrap().code(), Some(0));
}

#[test]
fn watching_goes_on_when_the_agent_is_restarted() {
    let pinned = Pinned::new("watch");
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("agent.sock");
    let first = serve(
        &socket,
        vec![
            answer(70, 72, &[]),
            answer(70, 74, &[event(72, "default", "198.51.100.7"), event(73, "shop", "198.51.100.8")]),
        ],
    );
    let mut command = command_at(&socket, pinned.root(), &["breaks", "-w", "-o", "json"]);
    let mut watching = Watching(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let told = lines(watching.0.stdout.take().unwrap());
    let said = lines(watching.0.stderr.take().unwrap());
    let client = || serde_json::from_str::<Value>(&told.recv_timeout(PATIENCE).unwrap()).unwrap()["client"].clone();

    assert_eq!(client(), "198.51.100.7");
    let questions = first.join().unwrap();
    assert_eq!(questions[1], "GET /breaks?after=71 HTTP/1.1");
    let note = said.recv_timeout(PATIENCE).unwrap();
    assert!(note.starts_with("limpet: agent: not running") && note.ends_with("; waiting for it"), "{note}");

    let second = serve(&socket, vec![answer(900, 901, &[event(900, "default", "198.51.100.9")])]);
    assert_eq!(client(), "198.51.100.9");
    assert_eq!(second.join().unwrap(), ["GET /breaks?after=73 HTTP/1.1"]);
    let note = said.recv_timeout(PATIENCE).unwrap();
    assert!(note.starts_with("limpet: the agent was restarted"), "{note}");
}
