//! What clients and servers say to each other.
//!
//! TCP is a conversation in lines; the client begins, and may ask again on the same connection:
//!
//! | the client sends | the server answers |
//! | --- | --- |
//! | `who` | one line of JSON, an [`Answer`] |
//! | `later N` | the same, after N milliseconds of silence |
//! | `upload N`, then N bytes | one line of JSON, a [`Receipt`] |
//! | `download N SEED` | N bytes of [`Stream`] |
//! | `post VALUE` | one line of JSON, a [`Session`]: the value is the client's from now on |
//! | `get` | one line of JSON, a [`Session`] |
//!
//! The last two are what a web application's session is: the server keeps one value for each client
//! address, in memory, and a new server knows nothing. A value is a number.
//!
//! Anything else ends the connection. UDP: every datagram is answered with an [`Answer`] in JSON,
//! from the address that it was sent to.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

/// The most bytes in one upload or download.
pub(crate) const MAX_TRANSFER_BYTES: u64 = 64 << 20;
/// The longest silence that can be asked for.
pub(crate) const MAX_DELAY_MILLISECONDS: u64 = 120_000;
/// The most bytes in a request's line.
pub(crate) const MAX_LINE_BYTES: u64 = 256;
/// Transfers are read and written in pieces of this size.
pub(crate) const CHUNK_BYTES: usize = 64 << 10;

/// Who answered, and what it saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The Pod that answered.
    pub pod: String,
    /// The source of the request, as the server sees it.
    pub client: SocketAddr,
    /// The address that the request reached, as the server sees it: the Pod's own.
    pub server: SocketAddr,
}

/// What arrived of an upload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Receipt {
    pub(crate) received: u64,
    pub(crate) checksum: u64,
}

/// What a server has in memory for the client that asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The Pod that answered.
    pub pod: String,
    /// The client's address, as the server sees it.
    pub client: IpAddr,
    /// The value that this client has stored at this server; none when it has not, or could not.
    pub value: Option<u64>,
}

/// A line that the client sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Who,
    Later { milliseconds: u64 },
    Upload { bytes: u64 },
    Download { bytes: u64, seed: u64 },
    Post { value: u64 },
    Get,
}

impl Request {
    /// Reads a request, or nothing when it is none or asks for too much.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let request = match words.next()? {
            "who" => Self::Who,
            "later" => Self::Later { milliseconds: at_most(MAX_DELAY_MILLISECONDS, words.next()?)? },
            "upload" => Self::Upload { bytes: at_most(MAX_TRANSFER_BYTES, words.next()?)? },
            "download" => {
                Self::Download { bytes: at_most(MAX_TRANSFER_BYTES, words.next()?)?, seed: words.next()?.parse().ok()? }
            }
            "post" => Self::Post { value: words.next()?.parse().ok()? },
            "get" => Self::Get,
            _ => return None,
        };
        words.next().is_none().then_some(request)
    }

    /// The line to send, with its end.
    pub(crate) fn line(self) -> String {
        match self {
            Self::Who => "who\n".to_owned(),
            Self::Later { milliseconds } => format!("later {milliseconds}\n"),
            Self::Upload { bytes } => format!("upload {bytes}\n"),
            Self::Download { bytes, seed } => format!("download {bytes} {seed}\n"),
            Self::Post { value } => format!("post {value}\n"),
            Self::Get => "get\n".to_owned(),
        }
    }
}

/// Bytes that both sides can make from a seed, eight at a time (xorshift64*).
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    state: u64,
}

impl Stream {
    pub(crate) fn new(seed: u64) -> Self {
        // The generator stays at zero for ever when it begins there.
        let state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        Self { state }
    }

    /// Fills a piece. Pieces of [`CHUNK_BYTES`], the last one shorter, give the same stream to
    /// everyone.
    pub(crate) fn fill(&mut self, piece: &mut [u8]) {
        for bytes in piece.chunks_mut(size_of::<u64>()) {
            self.state ^= self.state >> 12;
            self.state ^= self.state << 25;
            self.state ^= self.state >> 27;
            let value = self.state.wrapping_mul(0x2545_f491_4f6c_dd1d);
            bytes.copy_from_slice(&value.to_le_bytes()[..bytes.len()]);
        }
    }
}

/// A sum over bytes that notices changed, lost, doubled and swapped ones (FNV-1a, 64 bits).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Checksum(u64);

impl Checksum {
    pub(crate) fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    pub(crate) fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    pub(crate) fn value(self) -> u64 {
        self.0
    }
}

/// An address as its own family writes it: a socket for both families names IPv4 ones as mapped.
pub(crate) fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The sizes that `bytes` is transferred in.
pub(crate) fn pieces(bytes: u64) -> impl Iterator<Item = usize> {
    let chunk = CHUNK_BYTES as u64;
    (0..bytes.div_ceil(chunk)).map(move |index| {
        let left = bytes - index * chunk;
        usize::try_from(left).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES))
    })
}

fn at_most(limit: u64, number: &str) -> Option<u64> {
    number.parse().ok().filter(|number| *number <= limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_as_they_are_written() {
        for request in [
            Request::Who,
            Request::Later { milliseconds: 40_000 },
            Request::Upload { bytes: 10 << 20 },
            Request::Download { bytes: 0, seed: 7 },
            Request::Post { value: u64::MAX },
            Request::Get,
        ] {
            assert_eq!(Request::parse(&request.line()), Some(request));
        }
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for line in [
            "",
            "whom",
            "who me",
            "later",
            "later 120001",
            "upload",
            "upload -1",
            "download 1",
            "upload 99999999999",
            "post",
            "post x",
            "get 1",
        ] {
            assert_eq!(Request::parse(line), None, "{line:?}");
        }
    }

    #[test]
    fn pieces_add_up() {
        for bytes in [0, 1, 65_535, 65_536, 65_537, 10 << 20] {
            let sum: usize = pieces(bytes).sum();
            assert_eq!(sum as u64, bytes);
        }
    }

    #[test]
    fn a_checksum_notices_swapped_pieces() {
        let sum = |bytes: &[u8]| {
            let mut checksum = Checksum::new();
            checksum.add(bytes);
            checksum.value()
        };
        assert_ne!(sum(b"ab"), sum(b"ba"));
        assert_ne!(sum(b"ab"), sum(b"a"));
    }
}
