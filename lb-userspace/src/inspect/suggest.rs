//! "Did you mean": what there is, for a name that there is not.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};

use super::state::{ServicePort, State};
use crate::cli::{Scope, ServiceReference};

/// Most names in a message.
const SHOWN: usize = 20;

/// Makes sure that a Service is programmed.
///
/// # Errors
/// [`no_such_service`], when it is not.
pub fn require(state: &State, wanted: &ServiceReference, scope: &Scope) -> Result<()> {
    let is_it = |service: &ServicePort| service.name == wanted.name && scope.covers(&service.namespace);
    ensure!(state.services.values().any(is_it), no_such_service(state, wanted, scope));
    Ok(())
}

/// The message for a Service that is not programmed: the nearest names, else those that there are.
pub fn no_such_service(state: &State, wanted: &ServiceReference, scope: &Scope) -> String {
    let name = &wanted.name;
    let place = scope.namespace().map_or_else(|| "any namespace".to_owned(), |only| format!("namespace {only}"));
    let services: BTreeSet<(&str, &str)> = state
        .services
        .values()
        .map(|ServicePort { namespace, name, .. }| (namespace.as_str(), name.as_str()))
        .collect();
    let near = |(namespace, other): &&(&str, &str)| {
        *other == name || scope.covers(namespace) && distance(other, name) <= tolerated(name)
    };
    let nearest: Vec<_> = services.iter().filter(near).copied().collect();
    let hint = match (nearest.is_empty(), services.is_empty()) {
        (false, _) => format!("did you mean {}?", names(&nearest)),
        (true, false) => format!("there is {}", names(&Vec::from_iter(services))),
        (true, true) => "no Service is programmed at all; `limpet status` may say why".to_owned(),
    };
    format!("Service {name} is not programmed in {place}; {hint}")
}

fn names(services: &[(&str, &str)]) -> String {
    let shown: Vec<String> =
        services.iter().take(SHOWN).map(|(namespace, name)| format!("{namespace}/{name}")).collect();
    let more = services.len().saturating_sub(SHOWN);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    shown.join(", ") + &rest
}

/// A slip in a short name, two in a longer one.
pub(crate) fn tolerated(name: &str) -> usize {
    (name.chars().count() / 3).clamp(1, 3)
}

/// Characters to insert, remove or replace to get from one text to the other (Levenshtein).
pub(crate) fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (above, left) in one.chars().enumerate() {
        let mut last = above + 1;
        let mut next = vec![last];
        for (column, top) in other.iter().enumerate() {
            let (diagonal, up) = (row.get(column).copied(), row.get(column + 1).copied());
            let replaced = diagonal.unwrap_or(usize::MAX - 1) + usize::from(left != *top);
            last = replaced.min(last + 1).min(up.unwrap_or(usize::MAX - 1) + 1);
            next.push(last);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{super::state::sample, *};

    #[test]
    fn distances() {
        for (one, other, expected) in [
            ("", "", 0),
            ("web", "web", 0),
            ("web", "wbe", 2),
            ("web", "webs", 1),
            ("", "abc", 3),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(one, other), expected, "{one} {other}");
            assert_eq!(distance(other, one), expected, "{other} {one}");
        }
    }

    #[test]
    fn says_what_there_is() {
        let state = sample::state();
        let scope = |namespace: &str| Scope { namespace: Some(namespace.to_owned()), all_namespaces: false };
        let cases = [
            ("wep", "default", "Service wep is not programmed in namespace default; did you mean default/web?"),
            ("cart", "default", "Service cart is not programmed in namespace default; did you mean shop/cart?"),
            (
                "database",
                "default",
                "Service database is not programmed in namespace default; there is default/web, shop/cart",
            ),
        ];
        for (name, namespace, expected) in cases {
            let wanted = ServiceReference { namespace: None, name: name.to_owned() };
            assert_eq!(no_such_service(&state, &wanted, &scope(namespace)), expected);
        }
        let wanted = ServiceReference { namespace: None, name: "web".to_owned() };
        let message = no_such_service(&State::default(), &wanted, &scope("default"));
        assert!(message.contains("no Service is programmed at all"), "{message}");
    }
}
