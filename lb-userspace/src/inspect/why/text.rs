//! What `limpet why` says, in sentences.

use super::{AffinityRule, By, Held, IfGone, KeptOut, PortWhy, Target, Why};
use crate::{
    api::Break,
    inspect::{
        held::ClientState,
        output::{age, one_line},
        state::ServicePort,
    },
    model::{AffinityExpiry, AffinityKey, Family},
};

/// Breaks that are told one by one.
const SHOWN_BREAKS: usize = 10;
/// Stands for a backend whose name is forgotten.
const GONE: &str = "a Pod that is gone";

/// All of it.
pub fn of(why: &Why) -> String {
    let mut text = format!("Client:    {}\n", why.client);
    for port in &why.services {
        text += &format!("\nService:   {}\n", port.service);
        for (label, line) in lines(port, Family::of(why.client)) {
            text += &format!("  {label:<10}{}\n", one_line(&line));
        }
    }
    text
}

fn lines(port: &PortWhy, family: Family) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    let mut line = |label, text: String| lines.push((label, text));
    // Frontends say how clients are held.
    if port.by != By::NoFrontend {
        line("Affinity:", affinity(port.affinity.as_ref()));
    }
    if let Some(kept_out) = port.kept_out {
        line("Kept out:", self::kept_out(kept_out).to_owned());
    }
    line("Next:", next(port, family));
    if port.affinity.is_some() {
        line("Held:", held(port.held.as_ref(), port));
        line("Table:", table(port));
        if let Some(gone) = &port.if_gone {
            line("If gone:", if_gone(gone));
        }
    }
    line("Flows:", flows(port));
    if port.affinity.is_some() {
        for (index, text) in breaks(port.breaks.as_deref()).into_iter().enumerate() {
            line(if index == 0 { "Breaks:" } else { "" }, text);
        }
    }
    lines
}

fn affinity(rule: Option<&AffinityRule>) -> String {
    let Some(rule) = rule else {
        return "None: clients are not held".to_owned();
    };
    let timeout = age(rule.settings.timeout_seconds.into());
    let mut text = format!("ClientIP, for {timeout} after the last new connection; the client is {}", rule.client);
    if rule.client.contains('/') {
        text += &format!(" (limpet.dev/client-prefix: {} bits)", rule.settings.client_prefix);
    }
    if rule.settings.key == AffinityKey::Service {
        text += "; all ports of the Service share it (limpet.dev/affinity-key)";
    }
    if rule.settings.expiry == AffinityExpiry::Stable {
        text += "; after that it goes by the same slot again (limpet.dev/affinity-expiry)";
    }
    text
}

fn next(port: &PortWhy, family: Family) -> String {
    let next = port.next.as_ref().map(place).unwrap_or_default();
    let counted = port.counts_as_break.map(|reason| format!("; that counts as a break ({reason})")).unwrap_or_default();
    match port.by {
        By::Map => format!("{next}, because the client is held there"),
        By::Table if is_held_elsewhere(port) => {
            format!("{next}, because the lookup table names it: the Pod that holds the client does not have this port")
        }
        By::Table => format!("{next}, because the lookup table names it{counted}"),
        By::Connection if port.active_backends == 1 => "the only active backend".to_owned(),
        By::Connection => {
            format!("any of {} active backends: connections spread by 5-tuple", port.active_backends)
        }
        By::NoBackend => "nowhere: no Pod is usable; `limpet describe service` says what becomes of packets".to_owned(),
        By::NoFrontend => format!("not here: the Service port is not reached by {family}"),
    }
}

fn kept_out(why: KeptOut) -> &'static str {
    match why {
        KeptOut::BadSource => "everywhere: nobody can have this address, so its packets are dropped (`bad-source`)",
        KeptOut::FromInside => "everywhere: it is a node or a Pod of the cluster, whose packets are left to kube-proxy",
        KeptOut::SourceRange => {
            "at the load-balancer IPs: it is in none of the Service's loadBalancerSourceRanges; the rest is for other frontends"
        }
    }
}

fn place(target: &Target) -> String {
    match &target.node {
        Some(node) => format!("{} on {node}", target.backend),
        None => target.backend.clone(),
    }
}

/// Held, and yet not sent there.
fn is_held_elsewhere(port: &PortWhy) -> bool {
    port.held.as_ref().is_some_and(|held| held.over.is_none())
}

fn held(held: Option<&Held>, port: &PortWhy) -> String {
    let Some(held) = held else {
        return match (&port.had, port.counts_as_break) {
            (None, None) => "no; nothing is remembered of the client on this node".to_owned(),
            (had, _) => format!("no more: was at {}, until the full map forgot it", had.as_deref().unwrap_or(GONE)),
        };
    };
    let backend = held.backend.as_deref().unwrap_or(GONE);
    let since = age(held.age_seconds.into());
    let last = age(held.last_used_seconds_ago.into());
    let mut text = match held.state {
        ClientState::Held | ClientState::New => {
            let left = age(held.expires_in_seconds.into());
            format!("at {backend} for {since}; last new connection {last} ago, expires in {left}")
        }
        ClientState::Expired => {
            let timeout = port.affinity.as_ref().map_or(0, |rule| rule.settings.timeout_seconds);
            format!("no more: was at {backend}; last new connection {last} ago, longer than {}", age(timeout.into()))
        }
        ClientState::Broken | ClientState::Forgotten | ClientState::Unused => {
            let because = held.over_because.unwrap_or("no Service holds it");
            format!("no more: was at {backend} for {since}, last new connection {last} ago; {because}")
        }
    };
    if held.state == ClientState::New {
        text += "; one packet has been seen";
    }
    match held.expiries {
        0 => {}
        1 => text += "; its time was over once before",
        times => text += &format!("; its time was over {times} times before"),
    }
    text
}

fn table(port: &PortWhy) -> String {
    let Some(table) = &port.table else {
        return "empty: no Pod is usable".to_owned();
    };
    let is_same = port.next.as_ref().is_some_and(|next| &next.backend == table);
    match (is_same, port.by) {
        (true, By::Map) => format!("names {table} as well"),
        (true, _) => format!("names {table}"),
        (false, _) => format!("names {table}, where the client would go if it were not held"),
    }
}

fn if_gone(gone: &IfGone) -> String {
    match &gone.next {
        Some(next) => format!("without {} the client would go to {next}", gone.backend),
        None => format!("without {} no Pod would be usable", gone.backend),
    }
}

fn flows(port: &PortWhy) -> String {
    let ServicePort { namespace, name, .. } = &port.service;
    match port.flows {
        0 => "none of this client".to_owned(),
        1 => format!("1 of this client; `limpet get flows {namespace}/{name}` shows it"),
        count => format!("{count} of this client; `limpet get flows {namespace}/{name}` shows them"),
    }
}

fn breaks(breaks: Option<&[Break]>) -> Vec<String> {
    let Some(breaks) = breaks else {
        return vec!["unknown: only the agent can tell them one by one".to_owned()];
    };
    if breaks.is_empty() {
        return vec!["none that the agent knows of".to_owned()];
    }
    let unknown = || "unknown".to_owned();
    let one = |event: &Break| {
        let from = event.from.clone().unwrap_or_else(unknown);
        let to = event.to.clone().unwrap_or_else(unknown);
        format!("{} ago from {from} to {to} ({})", age(event.seconds_ago), event.reason)
    };
    let mut lines: Vec<String> = breaks.iter().take(SHOWN_BREAKS).map(one).collect();
    if breaks.len() > SHOWN_BREAKS {
        lines.push(format!("and {} before that", breaks.len() - SHOWN_BREAKS));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{inspect::state::sample::service, plan::FrontendAffinity};

    fn rule() -> AffinityRule {
        let settings = FrontendAffinity {
            timeout_seconds: 10_800,
            client_prefix: 32,
            key: AffinityKey::Port,
            expiry: AffinityExpiry::Real,
        };
        AffinityRule { settings, client: "198.51.100.7".to_owned() }
    }

    fn held_at(backend: &str) -> Held {
        Held {
            backend: Some(backend.to_owned()),
            age_seconds: 312,
            last_used_seconds_ago: 12,
            expires_in_seconds: 10_788,
            expiries: 0,
            state: ClientState::Held,
            over: None,
            over_because: None,
        }
    }

    fn port() -> PortWhy {
        PortWhy {
            service: service("default", "web", "http", "TCP"),
            affinity: Some(rule()),
            by: By::Map,
            kept_out: None,
            next: Some(Target { backend: "default/web-1".to_owned(), node: Some("n2".to_owned()) }),
            held: Some(held_at("default/web-1")),
            table: Some("default/web-0".to_owned()),
            counts_as_break: None,
            had: None,
            if_gone: Some(IfGone { backend: "default/web-1".to_owned(), next: Some("default/web-2".to_owned()) }),
            active_backends: 3,
            flows: 2,
            breaks: Some(Vec::new()),
        }
    }

    fn print(services: Vec<PortWhy>) -> String {
        of(&Why { client: "198.51.100.7".parse().unwrap(), services })
    }

    #[test]
    fn a_client_that_is_held() {
        let expected = "\
Client:    198.51.100.7

Service:   default/web:http/TCP
  Affinity: ClientIP, for 3h after the last new connection; the client is 198.51.100.7
  Next:     default/web-1 on n2, because the client is held there
  Held:     at default/web-1 for 5m12s; last new connection 12s ago, expires in 2h59m
  Table:    names default/web-0, where the client would go if it were not held
  If gone:  without default/web-1 the client would go to default/web-2
  Flows:    2 of this client; `limpet get flows default/web` shows them
  Breaks:   none that the agent knows of
";
        assert_eq!(print(vec![port()]), expected);
    }

    #[test]
    fn a_client_that_is_moved() {
        let broken = Held {
            state: ClientState::Broken,
            over: Some("draining"),
            over_because: Some("the Pod is terminating, and others are ready"),
            expiries: 1,
            ..held_at("default/web-1")
        };
        let event = Break {
            seconds_ago: 200,
            service: None,
            client: "198.51.100.7".to_owned(),
            reason: "expired".to_owned(),
            from: Some("default/web-2".to_owned()),
            to: None,
            held_seconds: 5,
        };
        let moved = PortWhy {
            by: By::Table,
            next: Some(Target { backend: "default/web-0".to_owned(), node: None }),
            held: Some(broken),
            counts_as_break: Some("draining"),
            if_gone: Some(IfGone { backend: "default/web-0".to_owned(), next: None }),
            breaks: Some(vec![event; 12]),
            flows: 0,
            ..port()
        };
        let text = print(vec![moved]);
        let expected = "  Next:     default/web-0, because the lookup table names it; that counts as a break (draining)
  Held:     no more: was at default/web-1 for 5m12s, last new connection 12s ago; the Pod is terminating, and others are \
                        ready; its time was over once before
  Table:    names default/web-0
  If gone:  without default/web-0 no Pod would be usable
  Flows:    none of this client
  Breaks:   3m20s ago from default/web-2 to unknown (expired)
";
        assert!(text.contains(expected), "{text}");
        assert!(text.ends_with("            and 2 before that\n"), "{text}");
    }

    #[test]
    fn everybody_else() {
        let nothing = PortWhy { affinity: None, next: None, held: None, table: None, if_gone: None, ..port() };
        let evicted = PortWhy {
            by: By::Table,
            held: None,
            counts_as_break: Some("evicted"),
            had: Some("default/web-1".to_owned()),
            ..port()
        };
        let cases = [
            (
                "spread",
                PortWhy { by: By::Connection, ..nothing.clone() },
                "any of 3 active backends: connections spread",
            ),
            ("no backend", PortWhy { by: By::NoBackend, ..nothing.clone() }, "no Pod is usable"),
            (
                "no frontend",
                PortWhy { by: By::NoFrontend, ..nothing },
                "TCP\n  Next:     not here: the Service port is not reached by IPv4",
            ),
            ("agrees", PortWhy { table: Some("default/web-1".to_owned()), ..port() }, "names default/web-1 as well"),
            ("evicted", evicted, "no more: was at default/web-1, until the full map forgot it"),
            ("a stranger", PortWhy { by: By::Table, held: None, ..port() }, "nothing is remembered of the client"),
            (
                "another port",
                PortWhy { by: By::Table, ..port() },
                "the Pod that holds the client does not have this port",
            ),
            (
                "no sender",
                PortWhy { kept_out: Some(KeptOut::BadSource), ..port() },
                "  Kept out: everywhere: nobody can have this address",
            ),
            (
                "from inside",
                PortWhy { kept_out: Some(KeptOut::FromInside), ..port() },
                "  Kept out: everywhere: it is a node or a Pod",
            ),
            (
                "out of range",
                PortWhy { kept_out: Some(KeptOut::SourceRange), ..port() },
                "in none of the Service's loadBalancerSourceRanges",
            ),
            ("no agent", PortWhy { breaks: None, ..port() }, "only the agent can tell them"),
        ];
        for (description, port, expected) in cases {
            let text = print(vec![port]);
            assert!(text.contains(expected), "{description}: {text}");
        }
    }

    #[test]
    fn what_the_annotations_change_is_said() {
        let settings = FrontendAffinity {
            timeout_seconds: 60,
            client_prefix: 24,
            key: AffinityKey::Service,
            expiry: AffinityExpiry::Stable,
        };
        let changed = AffinityRule { settings, client: "198.51.100.0/24".to_owned() };
        let text = affinity(Some(&changed));
        for expected in ["the client is 198.51.100.0/24", "client-prefix: 24 bits", "affinity-key", "affinity-expiry"] {
            assert!(text.contains(expected), "{text}");
        }
    }
}
