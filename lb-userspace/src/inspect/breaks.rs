//! `limpet breaks`: how often clients were given another backend, by Service port and reason, from the pinned counters;
//! and the newest such breaks one by one, from the agent.

mod events;
mod totals;
mod watch;

use anyhow::{Result, ensure};
use serde::Serialize;

use self::totals::Total;
use super::{
    Said, client, output,
    read::{self, Opened},
    state::{ServicePort, State},
    suggest,
};
use crate::{
    api::{AgentBreaks, Break},
    cli::{BreaksOptions, Format, Places, Scope},
    dataplane::Pins,
};

pub use self::totals::{counts, lost_events, sum};

/// All that is known, as JSON has it.
#[derive(Debug, Serialize)]
struct Document {
    node: Option<String>,
    totals: Vec<Total>,
    /// None when the agent could not be asked.
    events: Option<Vec<Break>>,
    lost_events: u64,
}

/// Carries the command out. With `--watch` it ends when its output is read no more.
///
/// # Errors
/// When the maps cannot be read, a Service that is asked for is not there, or, with `--watch`, what answers on the
/// agent's socket will never tell of breaks.
pub fn run(options: &BreaksOptions, places: &Places) -> Result<Said> {
    let opened = read::open(&Pins::new(&places.pin_dir))?;
    let state = opened.state()?;
    let wanted = Wanted::new(options, &state)?;
    let since_seconds = options.since.map(|since| since.seconds);
    if options.watch {
        return watch::run(&places.socket, &wanted, since_seconds, &options.output);
    }
    let answer = client::breaks(&places.socket, 0, since_seconds);
    let document = document(&opened, &state, &wanted, answer.as_ref().ok())?;
    let unreachable = answer.err().map(|error| {
        format!("{}; these are the datapath's counters, single breaks are told by the agent", error.sentence())
    });
    let (text, notes) = match options.output.format {
        Format::Json => (output::json(&document)?, Vec::new()),
        Format::Table | Format::Wide => (text(&document, options)?, notes(&document, &wanted, since_seconds)),
    };
    Ok(Said { text, notes: notes.into_iter().chain(unreachable).collect(), unwell: false })
}

/// Which breaks are meant.
#[derive(Clone, Debug, Default)]
struct Wanted {
    scope: Scope,
    /// The name of the Service.
    service: Option<String>,
}

impl Wanted {
    /// Fails when the Service is not there.
    fn new(options: &BreaksOptions, state: &State) -> Result<Self> {
        let Some(service) = &options.service else {
            return Ok(Self { scope: options.scope.clone(), service: None });
        };
        let wanted = Self { scope: options.scope.narrowed_to(service)?, service: Some(service.name.clone()) };
        let is_there = state.services.values().any(|port| wanted.covers_port(port));
        ensure!(is_there, suggest::no_such_service(state, service, &wanted.scope));
        Ok(wanted)
    }

    fn covers_port(&self, port: &ServicePort) -> bool {
        self.covers(&port.namespace, &port.name)
    }

    /// A break of a Service that nobody knows any more belongs to no namespace.
    fn covers_break(&self, told: &Break) -> bool {
        match &told.service {
            Some(service) => self.covers(&service.namespace, &service.name),
            None => self.scope.namespace().is_none() && self.service.is_none(),
        }
    }

    fn covers(&self, namespace: &str, name: &str) -> bool {
        self.scope.covers(namespace) && self.service.as_ref().is_none_or(|wanted| wanted == name)
    }

    /// In words, what nobody is held by.
    fn nobody(&self) -> String {
        match (&self.service, self.scope.namespace()) {
            (Some(service), _) => {
                format!("Service {service} holds no clients here: it has no session affinity, or no frontends")
            }
            (None, Some(namespace)) => {
                format!("no Service with session affinity in namespace {namespace}; -A shows all namespaces")
            }
            (None, None) => "no Service with session affinity".to_owned(),
        }
    }
}

fn document(opened: &Opened, state: &State, wanted: &Wanted, agent: Option<&AgentBreaks>) -> Result<Document> {
    let told = agent.map(|agent| agent.events.iter().map(|event| &event.told));
    Ok(Document {
        node: state.this_node().map(str::to_owned).or_else(|| agent.map(|agent| agent.node.clone())),
        totals: totals::read(opened, state, |port| wanted.covers_port(port))?,
        events: told.map(|told| told.filter(|it| wanted.covers_break(it)).cloned().collect()),
        lost_events: lost_events(opened)?,
    })
}

fn text(document: &Document, options: &BreaksOptions) -> Result<String> {
    let mut text = totals::table(&document.totals, &options.output);
    let events = document.events.as_deref().unwrap_or_default();
    if !text.is_empty() && !events.is_empty() {
        text += "\n";
    }
    text += &output::rows(events, &options.output)?;
    Ok(text)
}

fn notes(document: &Document, wanted: &Wanted, since_seconds: Option<u64>) -> Vec<String> {
    let mut notes = Vec::new();
    if document.totals.is_empty() {
        notes.push(wanted.nobody());
    }
    let there_were_some = document.totals.iter().any(|total| total.total > 0);
    if there_were_some && document.events.as_ref().is_some_and(Vec::is_empty) {
        let when = match since_seconds {
            Some(_) => "longer ago than --since, or before the agent started",
            None => "before the agent started, or too many others came after them",
        };
        notes.push(format!("none of these breaks is told one by one: they were {when}"));
    }
    let lost = document.lost_events;
    if lost > 0 {
        notes.push(format!("{lost} breaks on this node are in the totals alone: there were too many at a time"));
    }
    notes
}

#[cfg(test)]
mod tests {
    use lb_common::layout::BreakCounts;
    use serde_json::json;

    use super::{super::state::sample, events::sample::told, *};
    use crate::cli::OutputOptions;

    fn document() -> Document {
        let web = [1, 0, 0, 0, 0, 0, 0, 0];
        Document {
            node: Some("n1".to_owned()),
            totals: vec![Total::new(sample::service("default", "web", "http", "TCP"), &web)],
            events: Some(vec![told("198.51.100.7")]),
            lost_events: 0,
        }
    }

    fn options(service: Option<&str>) -> BreaksOptions {
        BreaksOptions {
            service: service.map(|service| service.parse().unwrap()),
            since: None,
            watch: false,
            scope: Scope::default(),
            output: OutputOptions::default(),
        }
    }

    #[test]
    fn totals_come_before_events() {
        let expected = "\
SERVICE               BACKEND-GONE  TOTAL
default/web:http/TCP  1             1

AGE  SERVICE               CLIENT        REASON        FROM           TO             HELD
12s  default/web:http/TCP  198.51.100.7  backend-gone  default/web-1  default/web-0  5m40s
";
        assert_eq!(text(&document(), &options(None)).unwrap(), expected);
        let without_agent = Document { events: None, ..document() };
        assert_eq!(
            text(&without_agent, &options(None)).unwrap(),
            expected.split_once("\n\n").unwrap().0.to_owned() + "\n"
        );
    }

    #[test]
    fn json_is_one_object() {
        let value = serde_json::to_value(Document { lost_events: 3, ..document() }).unwrap();
        assert_eq!(value["node"], json!("n1"));
        assert_eq!(value["totals"][0]["total"], json!(1));
        assert_eq!(value["lost_events"], json!(3));
        let event = json!({
            "seconds_ago": 12, "client": "198.51.100.7", "reason": "backend-gone",
            "service": {"namespace": "default", "name": "web", "port": "http", "protocol": "TCP"},
            "from": "default/web-1", "to": "default/web-0", "held_seconds": 340,
        });
        assert_eq!(value["events"], json!([event]));
        assert_eq!(serde_json::to_value(Document { events: None, ..document() }).unwrap()["events"], json!(null));
    }

    #[test]
    fn what_the_tables_do_not_say_is_noted() {
        let nothing = Total::new(sample::service("default", "web", "http", "TCP"), &BreakCounts::default());
        let untold = || Document { events: Some(vec![]), ..document() };
        let (longer_ago, other_agent) = (
            "none of these breaks is told one by one: they were longer ago than --since",
            "none of these breaks is told one by one: they were before the agent started",
        );
        let cases: [(&str, Document, Option<u64>, &[&str]); 6] = [
            ("all is there", document(), None, &[]),
            ("nothing happened", Document { totals: vec![nothing], ..untold() }, None, &[]),
            ("longer ago", untold(), Some(1), &[longer_ago]),
            ("read by an agent before this one", untold(), None, &[other_agent]),
            (
                "lost",
                Document { lost_events: 7, ..document() },
                None,
                &["7 breaks on this node are in the totals alone"],
            ),
            (
                "nobody",
                Document { totals: vec![], events: None, ..document() },
                None,
                &["no Service with session affinity in"],
            ),
        ];
        for (description, document, since_seconds, expected) in cases {
            let notes = notes(&document, &Wanted::default(), since_seconds);
            assert_eq!(notes.len(), expected.len(), "{description}: {notes:?}");
            for (note, expected) in notes.iter().zip(expected) {
                assert!(note.starts_with(expected), "{description}: {note}");
            }
        }
    }

    #[test]
    fn only_what_is_meant() {
        let state = sample::state();
        let forgotten = Break { service: None, ..told("198.51.100.7") };
        let all = Wanted { scope: Scope { namespace: None, all_namespaces: true }, service: None };
        let shop = Scope { namespace: Some("shop".to_owned()), all_namespaces: false };
        let cases = [
            ("the default namespace", Wanted::new(&options(None), &state).unwrap(), true, false),
            ("the Service", Wanted::new(&options(Some("web")), &state).unwrap(), true, false),
            ("another Service", Wanted::new(&options(Some("shop/cart")), &state).unwrap(), false, false),
            ("another namespace", Wanted { scope: shop, service: None }, false, false),
            ("all", all, true, true),
        ];
        for (description, wanted, expected, expected_of_forgotten) in cases {
            assert_eq!(wanted.covers_break(&told("198.51.100.7")), expected, "{description}");
            assert_eq!(wanted.covers_break(&forgotten), expected_of_forgotten, "{description}, Service forgotten");
        }
        let error = Wanted::new(&options(Some("wep")), &state).unwrap_err();
        assert!(error.to_string().contains("did you mean default/web?"), "{error}");
    }
}
