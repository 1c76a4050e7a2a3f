//! `limpet forget`: has clients choose their Pods by the lookup table again.

use std::{
    collections::BTreeSet,
    io::{self, BufRead, IsTerminal, Write},
};

use anyhow::{Context, Result};
use clap::{CommandFactory, error::ErrorKind};
use serde::Serialize;

use super::{
    Said, client as agent,
    clients::{self, ClientRow},
    get,
    held::{Client, ClientState, Rules},
    output,
    read::{self, Opened},
    state::{Backend, State},
    suggest,
};
use crate::{
    cli::{BackendReference, Cli, ForgetOptions, Format, Places, Scope},
    dataplane::Pins,
};

/// What was done.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Forgotten {
    /// Clients that matched.
    pub matched: usize,
    /// Those of them that were forgotten.
    pub forgotten: usize,
    /// Whether nothing was to be changed.
    pub dry_run: bool,
    /// The clients that matched, as they were.
    pub clients: Vec<ClientRow>,
}

/// Which clients are meant.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// By client and Service.
    pub wanted: clients::Wanted,
    /// Only those held at this backend.
    pub backend: Option<BackendReference>,
}

impl Selection {
    /// Whether this client is meant, and not forgotten yet.
    pub fn covers(&self, state: &State, rules: &Rules, client: &Client, now_seconds: u32) -> bool {
        rules.state(client, now_seconds) != ClientState::Forgotten && self.matches(state, rules, client)
    }

    /// Whether this client is meant, also when it is forgotten already.
    fn matches(&self, state: &State, rules: &Rules, client: &Client) -> bool {
        self.wanted.covers(state, rules, client)
            && self.backend.as_ref().is_none_or(|wanted| {
                client.backend(state).is_some_and(|backend| is_at(wanted, backend, &self.wanted.scope))
            })
    }

    /// So many of them, in words.
    fn name(&self, count: usize) -> String {
        let mut name = match (self.wanted.client, count) {
            (None, 0) => "clients".to_owned(),
            (None, 1) => "1 client".to_owned(),
            (None, _) => format!("{count} clients"),
            (Some(address), 0 | 1) => format!("client {address}"),
            (Some(address), _) => format!("client {address}, {count} times,"),
        };
        match (&self.wanted.service, self.wanted.scope.namespace()) {
            (Some(service), Some(namespace)) => name += &format!(" of {namespace}/{}", service.name),
            (Some(service), None) => name += &format!(" of {} in any namespace", service.name),
            (None, Some(namespace)) => name += &format!(" of Services in namespace {namespace}"),
            (None, None) => name += " of all Services",
        }
        match &self.backend {
            None => {}
            Some(BackendReference::Address(address)) => name += &format!(" held at {address}"),
            Some(BackendReference::Pod { namespace, name: pod }) => {
                let namespace = namespace.as_deref().or(self.wanted.scope.namespace());
                let namespace = namespace.map(|it| format!("{it}/")).unwrap_or_default();
                name += &format!(" held at {namespace}{pod}");
            }
        }
        name
    }
}

fn is_at(wanted: &BackendReference, backend: &Backend, scope: &Scope) -> bool {
    match wanted {
        BackendReference::Address(address) => backend.address == *address,
        BackendReference::Pod { namespace, name } => {
            let Some((of, pod)) = backend.identity.as_deref().and_then(|identity| identity.split_once('/')) else {
                return false;
            };
            let is_namespace = match namespace {
                Some(namespace) => namespace == of,
                None => scope.covers(of),
            };
            pod == name && is_namespace
        }
    }
}

/// Carries the command out.
///
/// # Errors
/// When the maps cannot be read or written, a Service that is named is not there, or nobody can be asked.
pub fn run(options: &ForgetOptions, places: &Places) -> Result<Said> {
    let mut opened = read::open(&Pins::new(&places.pin_dir))?;
    let state = opened.state()?;
    let selection = selection(options, &state)?;
    let rules = opened.rules(&state)?;
    let now_seconds = get::now_seconds()?;
    let (clients, _) = opened.clients(usize::MAX, |client| selection.covers(&state, &rules, client, now_seconds))?;
    let mut done = Forgotten {
        matched: clients.len(),
        forgotten: 0,
        dry_run: options.dry_run,
        clients: clients::rows(&state, &rules, &clients, now_seconds),
    };
    let others = selection.wanted.client.map(|_| with_all_of(&done.clients)).unwrap_or_default();
    let name = selection.name(clients.len()) + &others;
    let mut notes: Vec<String> = get::note_on_agent(&agent::status(&places.socket)).into_iter().collect();
    let may = !clients.is_empty() && !options.dry_run && (options.yes || is_agreed(&name)?);
    if may {
        done.forgotten = forget(&mut opened, &clients)?;
    }
    let (text, note) = match options.output.format {
        Format::Json => (output::json(&done)?, None),
        Format::Table | Format::Wide if done.matched == 0 => {
            let (before, _) = opened.clients(usize::MAX, |client| selection.matches(&state, &rules, client))?;
            (String::new(), Some(nothing_to_forget(&selection, before.len())))
        }
        Format::Table | Format::Wide => to_text(&done, &name, may, options)?,
    };
    notes.extend(note);
    let unwell = done.matched == 0 || !(may || options.dry_run);
    Ok(Said { text, notes, unwell })
}

fn selection(options: &ForgetOptions, state: &State) -> Result<Selection> {
    let mut scope = options.scope.clone();
    if let Some(service) = options.service() {
        scope = scope.narrowed_to(service)?;
        suggest::require(state, service, &scope)?;
    } else if let Some(BackendReference::Pod { namespace: Some(namespace), .. }) = &options.backend
        && scope.namespace.is_none()
        && !scope.all_namespaces
    {
        // A Pod's Services are in its namespace.
        scope.namespace = Some(namespace.clone());
    }
    let client = options.client.map(|client| client.to_canonical());
    let wanted = clients::Wanted { scope, service: options.service().cloned(), client };
    Ok(Selection { wanted, backend: options.backend.clone() })
}

/// How many there were still to forget.
fn forget(opened: &mut Opened, clients: &[Client]) -> Result<usize> {
    let mut forgotten = 0;
    for client in clients {
        forgotten += usize::from(opened.forget(client)?);
    }
    Ok(forgotten)
}

/// Asks, where somebody is there to be asked.
fn is_agreed(name: &str) -> Result<bool> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        let message = format!(
            "would forget {name}, and nobody can be asked: standard input is no terminal; say --yes, or --dry-run to \
             see who that is"
        );
        return Err(Cli::command().error(ErrorKind::MissingRequiredArgument, message).into());
    }
    let mut stderr = io::stderr();
    let asked = write!(stderr, "Forget {name}? [y/N] ").and_then(|()| stderr.flush());
    asked.context("cannot ask on standard error")?;
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer).context("cannot read the answer")?;
    Ok(is_yes(&answer))
}

fn is_yes(answer: &str) -> bool {
    ["y", "yes"].contains(&answer.trim().to_lowercase().as_str())
}

/// The prefixes among these clients: who names one address should know that others are moved as well.
fn with_all_of(clients: &[ClientRow]) -> String {
    let prefixes: BTreeSet<&str> =
        clients.iter().map(|row| row.client.as_str()).filter(|client| client.contains('/')).collect();
    match prefixes.len() {
        0 => String::new(),
        1..=3 => format!(", with all of {}", Vec::from_iter(prefixes).join(" and ")),
        many => format!(", with all of {many} prefixes"),
    }
}

/// Says that nobody is left to forget, where so many are forgotten already.
fn nothing_to_forget(selection: &Selection, already: usize) -> String {
    match already {
        0 => format!("nothing to forget: this node remembers no {}", selection.name(0)),
        _ => format!("nothing to forget; forgotten before, and not come back since: {}", selection.name(already)),
    }
}

/// What it comes to, for people: text, and a note.
fn to_text(done: &Forgotten, name: &str, may: bool, options: &ForgetOptions) -> Result<(String, Option<String>)> {
    if done.dry_run {
        let text = output::rows(&done.clients, &options.output)?;
        return Ok((text, Some(format!("would forget {name}; nothing is changed"))));
    }
    if !may {
        return Ok((String::new(), Some("nothing is forgotten".to_owned())));
    }
    let mut text = format!("Forgot {name}.\n");
    if done.forgotten < done.matched {
        let rest = done.matched - done.forgotten;
        text += &format!("{rest} of them had moved to another Pod meanwhile, and were left alone.\n");
    }
    text += "At its next connection each chooses by the lookup table; one that gets another Pod is counted as `forgotten` \
             in `limpet breaks`. Established connections are not touched.\n";
    Ok((text, None))
}

#[cfg(test)]
mod tests {
    use lb_common::layout::{Frontend, affinity_flags};

    use super::{
        super::{
            held::sample::{NOW, client, frontend, rules, rules_with},
            state::sample,
        },
        *,
    };
    use crate::cli::ServiceReference;

    fn service(name: &str) -> Option<ServiceReference> {
        Some(ServiceReference { namespace: None, name: name.to_owned() })
    }

    fn at(text: &str) -> Selection {
        Selection { backend: Some(text.parse().unwrap()), ..Selection::default() }
    }

    fn of(service: Option<ServiceReference>, client: Option<&str>, all_namespaces: bool) -> Selection {
        let scope = Scope { namespace: None, all_namespaces };
        let client = client.map(|text| text.parse().unwrap());
        Selection { wanted: clients::Wanted { scope, service, client }, backend: None }
    }

    #[test]
    fn all_that_is_said_must_match() {
        let held = client("198.51.100.7", 1, 990);
        let mut forgotten = held;
        forgotten.affinity.flags = affinity_flags::FORGOTTEN;
        let mut gone = held;
        gone.affinity.generation = 9;
        let both =
            |backend: &str, client: &str| Selection { backend: at(backend).backend, ..of(None, Some(client), false) };
        let cases = [
            ("the client", of(None, Some("198.51.100.7"), false), held, true),
            ("another client", of(None, Some("198.51.100.8"), false), held, false),
            ("the Service", of(service("web"), None, false), held, true),
            ("another Service", of(service("cart"), None, true), held, false),
            ("the Pod", at("web-0"), held, true),
            ("the Pod with its namespace", at("default/web-0"), held, true),
            ("another namespace's", at("shop/web-0"), held, false),
            ("the Pod's address", at("10.1.0.10:8080"), held, true),
            ("another Pod", at("web-1"), held, false),
            ("a Pod that is gone", at("web-0"), gone, false),
            ("Pod and client", both("web-0", "198.51.100.7"), held, true),
            ("the Pod, another client", both("web-0", "198.51.100.8"), held, false),
            ("forgotten already", of(None, Some("198.51.100.7"), false), forgotten, false),
        ];
        for (description, selection, client, expected) in cases {
            assert_eq!(selection.covers(&sample::state(), &rules(), &client, NOW), expected, "{description}");
        }
    }

    #[test]
    fn who_is_meant_in_words() {
        let pod = Selection { backend: at("web-1").backend, ..of(service("web"), None, false) };
        let cases = [
            (pod.clone(), 12, "12 clients of default/web held at default/web-1"),
            (pod, 1, "1 client of default/web held at default/web-1"),
            (of(None, Some("198.51.100.7"), true), 3, "client 198.51.100.7, 3 times, of all Services"),
            (of(service("web"), Some("198.51.100.7"), false), 1, "client 198.51.100.7 of default/web"),
            (of(service("web"), None, false), 0, "clients of default/web"),
            (at("10.1.0.10:80"), 2, "2 clients of Services in namespace default held at 10.1.0.10:80"),
        ];
        for (selection, count, expected) in cases {
            assert_eq!(selection.name(count), expected);
        }
    }

    #[test]
    fn prefixes_are_named_before_they_are_forgotten() {
        let by_network = rules_with(Frontend { client_prefix: 24, ..frontend() });
        let of = |rules: &Rules, addresses: &[&str]| {
            let clients: Vec<Client> = addresses.iter().map(|address| client(address, 1, 990)).collect();
            with_all_of(&clients::rows(&sample::state(), rules, &clients, NOW))
        };
        assert_eq!(of(&rules(), &["198.51.100.7"]), "");
        assert_eq!(of(&by_network, &["198.51.100.0"]), ", with all of 198.51.100.0/24");
        let networks = ["10.0.0.0", "10.0.1.0", "10.0.2.0", "10.0.3.0"];
        assert_eq!(of(&by_network, &networks[..2]), ", with all of 10.0.0.0/24 and 10.0.1.0/24");
        assert_eq!(of(&by_network, &networks), ", with all of 4 prefixes");
    }

    #[test]
    fn who_is_forgotten_already_is_told_from_who_never_came() {
        let selection = of(service("web"), Some("198.51.100.7"), false);
        let mut forgotten = client("198.51.100.7", 1, 990);
        forgotten.affinity.flags = affinity_flags::FORGOTTEN;
        assert!(selection.matches(&sample::state(), &rules(), &forgotten));
        let cases = [
            (0, "nothing to forget: this node remembers no client 198.51.100.7 of default/web"),
            (1, "nothing to forget; forgotten before, and not come back since: client 198.51.100.7 of default/web"),
        ];
        for (already, expected) in cases {
            assert_eq!(nothing_to_forget(&selection, already), expected);
        }
    }

    #[test]
    fn only_yes_is_yes() {
        for (answer, expected) in
            [("y\n", true), ("Yes\n", true), ("\n", false), ("", false), ("n\n", false), ("yo", false)]
        {
            assert_eq!(is_yes(answer), expected, "{answer:?}");
        }
    }
}
