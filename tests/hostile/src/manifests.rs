//! A directory of manifests, of which any file may hold anything, and may change into anything else.

use lb_common::host::Input;
use lb_userspace::source::Directory;

use crate::node::Node;

/// What separates the versions of the files from one another.
const NEXT: &[u8] = b"\n#####";
/// The files, one of each format.
const NAMES: [&str; 3] = ["a.yaml", "b.json", "c.yml"];
/// Most versions of files in one input.
const MAX_VERSIONS: usize = 8;

/// The text up to the first `#####` decides options; from there on, each such mark is followed by one character that chooses the
/// file, and on the next line by what the file holds from now on.
pub fn manifests(input: &[u8]) {
    let mut parts = split(input).into_iter();
    let mut node = Node::new(&mut Input::new(parts.next().unwrap_or_default()));
    let mut directory = Directory::new("made up");
    for part in parts.take(MAX_VERSIONS) {
        let (first, text) = part.split_first().unwrap_or((&b'a', &[]));
        let name = NAMES[usize::from(first.wrapping_sub(b'a')) % NAMES.len()];
        let (snapshot, problems) = directory.read_as(name, text.strip_prefix(b"\n").unwrap_or(text).to_vec());
        node.sync(&snapshot, &problems);
        node.wait(7);
    }
}

/// The input, cut at the marks.
fn split(mut input: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    while let Some(at) = input.windows(NEXT.len()).position(|window| window == NEXT) {
        parts.push(&input[..at]);
        input = &input[at + NEXT.len()..];
    }
    parts.push(input);
    parts
}
