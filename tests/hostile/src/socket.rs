//! The agent's socket, and clients that may say anything.

use std::{sync::OnceLock, time::Duration};

use lb_userspace::{agent::InProcess, source::Told};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    runtime::{Builder, Runtime},
    sync::mpsc,
    task::yield_now,
    time::timeout,
};

/// Ends a piece of what a client says: it pauses. No byte of any request.
const PAUSE: u8 = 0xff;
/// Ends what a client says; the next client begins.
const NEXT: u8 = 0xfe;
/// Most clients of one input.
const MAX_CLIENTS: usize = 8;
/// Bytes that are under way in each direction at a time.
const UNDER_WAY: usize = 512;
/// Longer than any answer takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest answer: what the agent says of itself, when it knows nothing yet.
const MAX_ANSWER: usize = 16 << 10;
/// What everybody may be answered.
const CODES: [u16; 10] = [200, 400, 404, 405, 408, 413, 414, 431, 501, 503];
/// A request that is in order.
const GOOD: &[u8] = b"GET /status HTTP/1.1\r\nHost: agent\r\n\r\n";

/// The bytes of some clients, one after the other, between [`NEXT`]; all of them stay connected until the last has spoken. Each
/// is answered properly or not at all, in time, and who asks properly afterwards is answered.
pub fn socket(input: &[u8]) {
    // Without a runtime there is no way in.
    let Ok(runtime) = Builder::new_current_thread().enable_time().build() else { return };
    let Some(agent) = agent(&runtime) else { return };
    runtime.block_on(async {
        let (connections, accepted) = mpsc::channel(MAX_CLIENTS + 1);
        tokio::spawn(agent.serve(accepted));
        let mut clients = Vec::new();
        for said in input.split(|byte| *byte == NEXT).take(MAX_CLIENTS) {
            clients.push(tokio::spawn(ask(connect(&connections).await, said.to_vec())));
        }
        for client in clients {
            match client.await {
                Ok(answer) => drop(check(&answer)),
                Err(failed) => std::panic::resume_unwind(failed.into_panic()),
            }
        }
        let answer = ask(connect(&connections).await, GOOD.to_vec()).await;
        assert_eq!(check(&answer), Some(200), "{:?}", String::from_utf8_lossy(&answer));
    });
}

/// What answers. Made once: reading the agent's own flags takes longer than everything else here.
fn agent(runtime: &Runtime) -> Option<InProcess> {
    static AGENT: OnceLock<Option<InProcess>> = OnceLock::new();
    let _within = runtime.enter();
    AGENT.get_or_init(|| InProcess::new(Told::nothing().standing()).ok()).clone()
}

async fn connect(connections: &mpsc::Sender<DuplexStream>) -> DuplexStream {
    let (client, server) = duplex(UNDER_WAY);
    assert!(connections.send(server).await.is_ok(), "nobody listens any more");
    client
}

/// Says this, while it reads whatever comes until the other end closes.
async fn ask(client: DuplexStream, said: Vec<u8>) -> Vec<u8> {
    let (mut from_agent, mut to_agent) = tokio::io::split(client);
    let speak = async move {
        for piece in said.split(|byte| *byte == PAUSE) {
            // An agent that has heard enough may close before all is said.
            let _untold = to_agent.write_all(piece).await;
            yield_now().await;
        }
        let _closed = to_agent.shutdown().await;
    };
    let mut answer = Vec::new();
    let listen = async { from_agent.read_to_end(&mut answer).await };
    let done = timeout(PATIENCE, async { tokio::join!(speak, listen) }).await;
    assert!(done.is_ok(), "the agent neither answers nor closes");
    assert!(answer.len() <= MAX_ANSWER, "an answer of {} bytes", answer.len());
    answer
}

/// An answer is one of HTTP, whole, and nothing follows it; gives its code, none where there is no answer.
fn check(answer: &[u8]) -> Option<u16> {
    if answer.is_empty() {
        return None;
    }
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {text:?}"));
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default();
    let code = status.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse().ok()).unwrap_or(0);
    assert!(CODES.contains(&code), "{status:?}");
    let header = |name: &str| {
        let mut named = lines.clone().filter_map(|line| line.split_once(": "));
        named.find(|(it, _)| it.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    };
    let length = header("content-length").and_then(|length| length.parse::<usize>().ok());
    // The answer to HEAD says how long it would be.
    assert!(body.is_empty() || length == Some(body.len()), "a body of {} bytes: {head:?}", body.len());
    if header("content-type") == Some("application/json") && !body.is_empty() {
        let json = serde_json::from_str::<serde_json::Value>(body);
        assert!(json.is_ok(), "{json:?}: {body:?}");
    }
    Some(code)
}
