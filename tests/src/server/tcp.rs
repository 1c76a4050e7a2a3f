//! The TCP side of a Pod's server: a thread for each connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use super::sessions::Sessions;
use crate::wait::let_pass;
use crate::wire::{Answer, CHUNK_BYTES, Checksum, MAX_LINE_BYTES, Receipt, Request, Session, Stream, pieces, plain};

/// Connections above this number are closed as soon as they are accepted.
const MAX_CONNECTIONS: usize = 1024;
/// A connection that says nothing for so long is closed.
const IDLE: Duration = Duration::from_secs(300);
/// A connection's thread needs little more than its buffers, which are on the heap.
const STACK_BYTES: usize = 128 << 10;

/// Accepts connections until accepting fails.
pub(super) fn serve(listener: &TcpListener, pod: &str, sessions: &Arc<Sessions>) -> Result<()> {
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        let (stream, _) = listener.accept().context("cannot accept a connection")?;
        if open.load(Ordering::Relaxed) >= MAX_CONNECTIONS {
            continue;
        }
        open.fetch_add(1, Ordering::Relaxed);
        let counted = Arc::clone(&open);
        let sessions = Arc::clone(sessions);
        let pod = pod.to_owned();
        thread::Builder::new()
            .name("tcp".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                if let Err(error) = converse(stream, &pod, &sessions) {
                    eprintln!("a connection ended: {error:#}");
                }
                counted.fetch_sub(1, Ordering::Relaxed);
            })
            .context("cannot start a thread for a connection")?;
    }
}

/// Answers requests until the client leaves, says something else, or is silent for too long.
fn converse(stream: TcpStream, pod: &str, sessions: &Sessions) -> Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(IDLE))?;
    stream.set_write_timeout(Some(IDLE))?;
    let answer =
        Answer { pod: pod.to_owned(), client: plain(stream.peer_addr()?), server: plain(stream.local_addr()?) };
    let client = answer.client.ip();
    let session = |value| Session { pod: pod.to_owned(), client, value };
    let mut input = BufReader::with_capacity(CHUNK_BYTES, stream.try_clone()?);
    let mut output = stream;
    loop {
        let mut line = String::new();
        input.by_ref().take(MAX_LINE_BYTES).read_line(&mut line)?;
        if line.is_empty() {
            return Ok(());
        }
        let request = Request::parse(&line).with_context(|| format!("{line:?} is not a request"))?;
        match request {
            Request::Who => write_line(&mut output, &answer)?,
            Request::Later { milliseconds } => {
                let_pass(Duration::from_millis(milliseconds));
                write_line(&mut output, &answer)?;
            }
            Request::Upload { bytes } => write_line(&mut output, &receive(&mut input, bytes)?)?,
            Request::Download { bytes, seed } => send(&mut output, bytes, seed)?,
            Request::Post { value } => write_line(&mut output, &session(sessions.store(client, value)))?,
            Request::Get => write_line(&mut output, &session(sessions.value(client)))?,
        }
    }
}

fn receive(input: &mut impl Read, bytes: u64) -> Result<Receipt> {
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut checksum = Checksum::new();
    for length in pieces(bytes) {
        let piece = &mut buffer[..length];
        input.read_exact(piece).context("an upload was cut off")?;
        checksum.add(piece);
    }
    Ok(Receipt { received: bytes, checksum: checksum.value() })
}

fn send(output: &mut impl Write, bytes: u64, seed: u64) -> Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut stream = Stream::new(seed);
    for length in pieces(bytes) {
        let piece = &mut buffer[..length];
        stream.fill(piece);
        output.write_all(piece).context("a download was cut off")?;
    }
    Ok(())
}

fn write_line(output: &mut impl Write, value: &impl serde::Serialize) -> Result<()> {
    let mut line = serde_json::to_vec(value).context("cannot write an answer")?;
    line.push(b'\n');
    output.write_all(&line).context("cannot send an answer")
}
