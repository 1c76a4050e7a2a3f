//! The server against clients that do not behave, over real sockets.

use std::{
    future::pending,
    sync::atomic::{AtomicUsize, Ordering},
};

use axum::{
    body::Body,
    routing::{get, post},
};
use hyper::body::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixListener, UnixStream},
    sync::Notify,
    time::{Instant, interval},
};

use super::{
    client::{PATIENCE, ask, hear, request, say, troubles},
    *,
};

/// Little time, so that tests of what takes long are quick.
const HASTY: Limits = Limits {
    connections: 8,
    answers: 3,
    head_time: Duration::from_millis(300),
    connection_time: Duration::from_millis(900),
};
/// More than the kernel holds of an answer that nobody reads.
const LARGE: usize = 16 << 20;

fn there() -> Router {
    Router::new().route("/there", get(|| async { "here" }))
}

async fn start(limits: Limits, router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve_within(limits, listener, router));
    address
}

/// Waits until it is so.
async fn until(what: &str, is_so: impl Fn() -> bool) {
    let waited = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, waited).await.unwrap_or_else(|_| panic!("{what}"));
}

#[tokio::test]
async fn paths_methods_and_sizes_are_bounded() {
    let server = start(LIMITS, there()).await;
    let cases = [
        ("GET", "/there", 200, "here"),
        ("HEAD", "/there", 200, ""),
        ("GET", "/elsewhere?script", 404, ""),
        ("POST", "/there", 405, ""),
        ("CONNECT", "/there", 405, ""),
        ("BREW", "/there", 405, ""),
    ];
    for (method, path, code, body) in cases {
        let answer = ask(server, method, path).await;
        assert_eq!((answer.code, answer.body.as_str()), (code, body), "{method} {path}");
        assert!(answer.head.contains("connection: close"), "{method} {path}: {}", answer.head);
        assert!(!answer.head.contains("script"), "nothing is repeated: {}", answer.head);
    }
    let too_much = [
        format!("GET /there HTTP/1.1\r\nCookie: {}\r\n\r\n", "x".repeat(2 * MAX_HEAD_BYTES)),
        format!("GET /there HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(1000)),
        format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(2 * MAX_HEAD_BYTES)),
    ];
    for text in too_much {
        let mut stream = TcpStream::connect(server).await.unwrap();
        let answer = say(&mut stream, &text).await;
        assert_eq!((answer.code, answer.body.as_str()), (431, ""), "{}", &text[..40]);
    }
    for text in ["\r\n\r\nx\r\n\r\n", "GET\r\n\r\n", "\0\u{1}\u{2}\n\n", "GET /there HTTP/9.9\r\n\r\n"] {
        let mut stream = TcpStream::connect(server).await.unwrap();
        let answer = say(&mut stream, text).await;
        assert_eq!((answer.code, answer.body.as_str()), (400, ""), "{text:?}");
    }
}

/// Twice as many as there may be, without a word: the next one is answered at once, and they are all cut off.
#[tokio::test]
async fn connections_that_say_nothing_keep_nobody_waiting() {
    let server = start(LIMITS, there()).await;
    let mut idle = Vec::new();
    for _ in 0..2 * LIMITS.connections {
        idle.push(TcpStream::connect(server).await.unwrap());
    }
    let before = Instant::now();
    assert_eq!(ask(server, "GET", "/there").await.code, 200);
    assert!(before.elapsed() < LIMITS.head_time / 2, "it waited {:?} for a place", before.elapsed());
    for stream in &mut idle[..LIMITS.connections] {
        assert_eq!(hear(stream).await.code, 0, "gave way");
    }
    assert!(before.elapsed() < LIMITS.head_time / 2, "they went for the others, not because their time was over");
    let last = idle.last_mut().unwrap();
    assert_eq!(say(last, &request("GET", "/there")).await.code, 200, "the newest ones may still ask");
}

#[tokio::test]
async fn who_sends_slowly_is_cut_off() {
    let server = start(HASTY, there().route("/text", post(|_: String| async { "read" }))).await;
    let slowly = |begin: &'static str, byte: &'static [u8]| async move {
        let mut stream = TcpStream::connect(server).await.unwrap();
        stream.write_all(begin.as_bytes()).await.unwrap();
        let (mut read, mut write) = stream.split();
        let mut pace = interval(HASTY.head_time / 20);
        let send = async {
            while write.write_all(byte).await.is_ok() {
                pace.tick().await;
            }
            pending().await
        };
        tokio::select! {
            answer = hear(&mut read) => answer,
            () = send => unreachable!("never ends"),
        }
    };
    let before = Instant::now();
    let head = slowly("GET /there HTTP/1.1\r\nCookie: ", b"x");
    let body = slowly("POST /text HTTP/1.1\r\nContent-Length: 60000\r\n\r\n", b"x");
    let (head, body) = tokio::join!(head, body);
    assert!(before.elapsed() >= HASTY.connection_time, "{:?}", before.elapsed());
    assert_eq!([head.code, body.code].map(|code| code < 400 || code == 408), [true; 2], "{head:?} {body:?}");
    assert_eq!((head.body.as_str(), body.body.as_str()), ("", ""));
    assert_eq!(ask(server, "GET", "/there").await.code, 200);
}

#[tokio::test]
async fn a_body_without_an_end_is_not_kept() {
    let server = start(LIMITS, there().route("/text", post(|_: String| async { "read" }))).await;
    let sized =
        format!("POST /text HTTP/1.1\r\nContent-Length: {}\r\n\r\n{}", 1_u64 << 40, "x".repeat(2 * MAX_BODY_BYTES));
    let chunk = format!("{:x}\r\n{}\r\n", 4096, "x".repeat(4096));
    let endless = |line: &str| format!("{line}\r\nTransfer-Encoding: chunked\r\n\r\n{}", chunk.repeat(64));
    let cases = [
        ("announced", sized, 413),
        ("in chunks", endless("POST /text HTTP/1.1"), 413),
        ("that nobody reads", endless("GET /there HTTP/1.1"), 200),
    ];
    for (description, text, code) in cases {
        let mut stream = TcpStream::connect(server).await.unwrap();
        let (mut read, mut write) = stream.split();
        let send = async {
            while write.write_all(text.as_bytes()).await.is_ok() {}
            pending().await
        };
        let answer = tokio::select! {
            answer = hear(&mut read) => answer,
            () = send => unreachable!("never ends"),
        };
        // What was sent after the server had heard enough may cost the answer (RFC 9112, 9.6).
        assert!([code, 0].contains(&answer.code), "{description}: {answer:?}");
    }
    // All of it is read here, so nothing costs the answer.
    for (bytes, code) in [(MAX_BODY_BYTES, 200), (MAX_BODY_BYTES + 1, 413)] {
        let text = format!("POST /text HTTP/1.1\r\nContent-Length: {bytes}\r\n\r\n{}", "x".repeat(bytes));
        let mut stream = TcpStream::connect(server).await.unwrap();
        assert_eq!(say(&mut stream, &text).await.code, code, "{bytes} bytes");
    }
}

/// Of answers that nobody reads, no more are kept than there may be; and who reads gets all of theirs.
#[tokio::test]
async fn answers_that_nobody_reads_do_not_pile_up() {
    struct Counted(Arc<AtomicUsize>, Vec<u8>);
    impl AsRef<[u8]> for Counted {
        fn as_ref(&self) -> &[u8] {
            &self.1
        }
    }
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
    let (kept, made) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counted, count) = (Arc::clone(&kept), Arc::clone(&made));
    let large = move || async move {
        count.fetch_add(1, Ordering::SeqCst);
        counted.fetch_add(1, Ordering::SeqCst);
        Body::from(Bytes::from_owner(Counted(counted, vec![b'x'; LARGE])))
    };
    let limits = Limits { answers: 3, ..LIMITS };
    let server = start(limits, Router::new().route("/large", get(large))).await;
    let mut never_read = Vec::new();
    for asked in 1..=3 * limits.answers {
        let mut stream = TcpStream::connect(server).await.unwrap();
        stream.write_all(request("GET", "/large").as_bytes()).await.unwrap();
        never_read.push(stream);
        until("the answer to be made", || made.load(Ordering::SeqCst) == asked).await;
        until("older answers to go", || kept.load(Ordering::SeqCst) <= limits.answers).await;
    }
    assert_eq!(ask(server, "GET", "/large").await.body.len(), LARGE);
}

#[tokio::test]
async fn a_connection_is_for_one_request_also_when_half_of_it_is_closed() {
    let ready = Arc::new(Notify::new());
    let waits = Arc::clone(&ready);
    let slow = get(async move || {
        waits.notified().await;
        "here"
    });
    let server = start(LIMITS, there().route("/slow", slow)).await;
    let mut stream = TcpStream::connect(server).await.unwrap();
    let answer = say(&mut stream, &request("GET", "/there").repeat(20)).await;
    // Others in the pipe may cost the answer, but never bring a second one.
    assert!(["here", ""].contains(&answer.body.as_str()), "{answer:?}");

    let mut stream = TcpStream::connect(server).await.unwrap();
    stream.write_all(request("GET", "/slow").as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    ready.notify_one();
    assert_eq!(hear(&mut stream).await.body, "here");

    let mut stream = TcpStream::connect(server).await.unwrap();
    stream.write_all(b"GET /there HTTP/1.1\r\n").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(hear(&mut stream).await.body, "", "half a request");
}

/// A server that works for ever, or a client that waits for ever, holds a place no longer than any other.
#[tokio::test]
async fn no_connection_lasts_for_ever() {
    let server = start(HASTY, Router::new().route("/never", get(pending::<()>))).await;
    let before = Instant::now();
    assert_eq!(ask(server, "GET", "/never").await.code, 0);
    assert!(before.elapsed() >= HASTY.connection_time);
}

#[tokio::test]
async fn a_unix_socket_is_served_in_the_same_way() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    tokio::spawn(serve(UnixListener::bind(&path).unwrap(), there()));
    let mut idle = Vec::new();
    for _ in 0..=LIMITS.connections {
        idle.push(UnixStream::connect(&path).await.unwrap());
    }
    let mut stream = UnixStream::connect(&path).await.unwrap();
    assert_eq!(say(&mut stream, &request("GET", "/there")).await.body, "here");
    assert_eq!(idle[0].read(&mut [0]).await.unwrap(), 0, "gave way");
}

#[tokio::test]
async fn an_address_that_somebody_has_is_told_and_tried_again() {
    let somebody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = somebody.local_addr().unwrap();
    let (troubles, problems) = troubles();
    tokio::spawn(serve_at(address, "--health-address", there(), troubles));
    until("it to be told", || !problems().is_empty()).await;
    let line = problems()[0].to_string();
    assert!(line.starts_with("warning: --health-address: cannot listen on 127.0.0.1:"), "{line}");
    drop(somebody);
    let served = async {
        while TcpStream::connect(address).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(5 * RETRY, served).await.unwrap();
    assert_eq!(ask(address, "GET", "/there").await.code, 200);
    assert_eq!(problems(), []);
}
