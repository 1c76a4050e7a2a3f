//! A client for tests: what it sends is written by hand.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, ToSocketAddrs},
    time::timeout,
};

use super::*;

/// Longer than anything here takes.
pub(in crate::agent) const PATIENCE: Duration = Duration::from_secs(20);

/// An answer, in parts.
#[derive(Debug)]
pub(in crate::agent) struct Answer {
    pub(in crate::agent) code: u16,
    pub(in crate::agent) head: String,
    pub(in crate::agent) body: String,
}

/// Troubles, and what they are at the moment.
pub(in crate::agent) fn troubles() -> (Troubles, impl Fn() -> Vec<Problem>) {
    let kept: Arc<Mutex<BTreeMap<&'static str, Problem>>> = Arc::default();
    let told = Arc::clone(&kept);
    let troubles = Troubles::to(move |part, problem| {
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        told.remove(part);
        told.extend(problem.map(|problem| (part, problem)));
    });
    (troubles, move || kept.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect())
}

/// Asks once.
pub(in crate::agent) async fn ask(server: impl ToSocketAddrs, method: &str, path: &str) -> Answer {
    let mut stream = TcpStream::connect(server).await.unwrap();
    say(&mut stream, &request(method, path)).await
}

/// A request without a body.
pub(in crate::agent) fn request(method: &str, path: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: node\r\n\r\n")
}

/// Sends this and reads to the end.
pub(in crate::agent) async fn say<S>(stream: &mut S, text: &str) -> Answer
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // A server that has heard enough may close before all of it is sent.
    let _sent = stream.write_all(text.as_bytes()).await;
    hear(stream).await
}

/// Reads to the end; code 0 where nothing came.
pub(in crate::agent) async fn hear(stream: &mut (impl AsyncRead + Unpin)) -> Answer {
    let mut answer = Vec::new();
    let _cut_off = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the server closes");
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    Answer { code, head: head.to_lowercase(), body: body.to_owned() }
}
