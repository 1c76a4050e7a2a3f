//! What the `NAMES` map says, written and read in this one place. Pure: the map itself is the caller's.
//!
//! A Service port is `namespace/name:port/PROTOCOL` (the port's name may be empty), a backend its identity, a space and
//! the name of its node, a node its name. None of these parts can hold what separates it from the next.

use std::fmt::Display;

use lb_common::layout::{NAME_BYTES, Name};

/// A Service port's name, in parts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ServiceName<'a> {
    /// The Service's namespace.
    pub namespace: &'a str,
    /// The Service's name.
    pub name: &'a str,
    /// The port's name; empty for the only port of a Service.
    pub port: &'a str,
    /// `TCP` or `UDP`.
    pub protocol: &'a str,
}

/// A backend's name, in parts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BackendName<'a> {
    /// `namespace/name` of the Pod, or its address and port.
    pub identity: &'a str,
    /// The name of its node, or as much of it as there was room for; empty when it is not known.
    pub node: &'a str,
}

/// The name of a Service port.
pub fn service(namespace: &str, name: &str, port: &str, protocol: impl Display) -> Name {
    encode(&format!("{namespace}/{name}:{port}/{protocol}"))
}

/// The name of a backend. There is always room for a Pod's namespace and name; a very long node name is cut.
pub fn backend(identity: &str, node: &str) -> Name {
    encode(&format!("{identity} {node}"))
}

/// The name of a node.
pub fn node(name: &str) -> Name {
    encode(name)
}

/// What a name says: all of it that counts and is UTF-8.
pub fn text(name: &Name) -> &str {
    let length = usize::try_from(name.length).unwrap_or(NAME_BYTES).min(NAME_BYTES);
    let bytes = name.text.get(..length).unwrap_or_default();
    match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => bytes.get(..error.valid_up_to()).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or(""),
    }
}

/// The parts of a Service port's name; none when it is not one.
pub fn parse_service(text: &str) -> Option<ServiceName<'_>> {
    let (namespace, rest) = text.split_once('/')?;
    let (rest, protocol) = rest.rsplit_once('/')?;
    let (name, port) = rest.split_once(':')?;
    let whole = !namespace.is_empty() && !name.is_empty() && !protocol.is_empty();
    whole.then_some(ServiceName { namespace, name, port, protocol })
}

/// The parts of a backend's name; none when it is not one.
pub fn parse_backend(text: &str) -> Option<BackendName<'_>> {
    let (identity, node) = text.split_once(' ')?;
    (!identity.is_empty()).then_some(BackendName { identity, node })
}

/// The name with this text, whatever it is the name of.
pub(super) fn encode(whole: &str) -> Name {
    let fitting = whole.floor_char_boundary(NAME_BYTES);
    let mut text = [0; NAME_BYTES];
    for (to, from) in text.iter_mut().zip(whole.as_bytes().iter().take(fitting)) {
        *to = *from;
    }
    // At most NAME_BYTES, which is far below any u32.
    Name { length: fitting as u32, text }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn services_come_back_as_they_were() {
        let cases = [
            ("a named port", ("default", "web", "http", "TCP"), "default/web:http/TCP"),
            ("the only port", ("kube-system", "dns", "", "UDP"), "kube-system/dns:/UDP"),
        ];
        for (description, (namespace, name, port, protocol), expected) in cases {
            let written = service(namespace, name, port, protocol);
            assert_eq!(text(&written), expected, "{description}");
            let parts = ServiceName { namespace, name, port, protocol };
            assert_eq!(parse_service(text(&written)), Some(parts), "{description}");
        }
    }

    #[test]
    fn backends_come_back_as_they_were() {
        for (identity, node) in [("default/web-0", "n1"), ("[fd00::1]:80", "n1"), ("192.0.2.1:53", "")] {
            let written = backend(identity, node);
            assert_eq!(parse_backend(text(&written)), Some(BackendName { identity, node }));
        }
        assert_eq!(text(&super::node("n1")), "n1");
    }

    #[test]
    fn the_longest_identity_fits_and_a_node_name_is_cut() {
        let identity = format!("{}/{}", "n".repeat(63), "p".repeat(253));
        let written = backend(&identity, &"ö".repeat(120));
        let parts = parse_backend(text(&written)).unwrap();
        assert_eq!(parts.identity, identity);
        assert_eq!(parts.node, "ö".repeat(31));
    }

    #[test]
    fn what_is_no_name_is_none() {
        for wrong in ["", "web", "default/web", "default/web:http", "/web:/TCP", "default/:/TCP", "default/web:/"] {
            assert_eq!(parse_service(wrong), None, "{wrong:?}");
        }
        for wrong in ["", "default/web-0", " n1"] {
            assert_eq!(parse_backend(wrong), None, "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_read(length: u32, bytes in proptest::collection::vec(any::<u8>(), NAME_BYTES)) {
            let mut name = Name { length, text: [0; NAME_BYTES] };
            name.text.copy_from_slice(&bytes);
            let read = text(&name);
            prop_assert!(read.len() <= NAME_BYTES);
            let _service = parse_service(read);
            let _backend = parse_backend(read);
        }
    }
}
