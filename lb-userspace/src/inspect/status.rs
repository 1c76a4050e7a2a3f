//! `limpet status`: the agent, the datapath, and what is wrong; also without an agent.

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    Said, breaks, client,
    fill::{self, FillRow},
    output::{self, NOTHING_THERE, age, list, one_line},
    read,
};
use crate::{
    api::{AgentStatus, SourceStatus},
    cli::{Format, OutputOptions, Places, StatusOptions},
    dataplane::{self, Attached, Pins, schema::TakenOver},
    source::{Problem, Severity},
};

/// The agent's answer, or why there is none.
type Answer = Result<AgentStatus, client::Error>;

/// All that is known, as JSON has it.
#[derive(Debug, Serialize)]
struct Document<'a> {
    agent: Map<String, Value>,
    datapath: &'a Datapath,
    problems: &'a [Problem],
}

/// What is in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Datapath {
    /// The directory of the pins.
    pub pin_dir: String,
    /// Whether anything is pinned there.
    pub pinned: bool,
    /// The layout of the maps, and what they were taken over from.
    pub layout: Option<Layout>,
    /// The name of this node, as the maps have it.
    pub node: Option<String>,
    /// The devices that have our programs, by the pins.
    pub uplinks: Vec<Attached>,
    /// Pins of other versions, which this one does not use.
    pub other_versions: Vec<String>,
    /// How full the maps are.
    pub fill: Vec<FillRow>,
    /// How often clients were given another backend.
    pub breaks: Option<BreakCount>,
    /// Why some of this is not known.
    pub error: Option<String>,
}

/// The layout of pinned maps.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Layout {
    /// Its version.
    pub version: u32,
    /// Which datapath went on in these maps, if they were not the first.
    pub taken_over: Option<TakenOver>,
}

/// How often clients were given another backend, of all Service ports since each was programmed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct BreakCount {
    /// In all.
    pub total: u64,
    /// How many of them were not handed to the agent, because there were too many at a time.
    pub lost_events: u64,
}

/// Carries the command out.
///
/// # Errors
/// When the output cannot be made.
pub fn run(options: &StatusOptions, places: &Places) -> Result<Said> {
    let answer = client::status(&places.socket);
    let datapath = datapath(&Pins::new(&places.pin_dir));
    let text = match options.output.format {
        Format::Json => output::json(&document(&answer, &datapath)?)?,
        Format::Table | Format::Wide => text(&answer, &datapath, &options.output)?,
    };
    Ok(Said { text, notes: Vec::new(), unwell: !answer.is_ok_and(|agent| is_well(&agent)) })
}

/// Whether everything that was asked for is done.
fn is_well(agent: &AgentStatus) -> bool {
    agent.in_step
        && agent.source.connected
        && agent.error.is_none()
        && agent.problems.iter().all(|it| it.severity != Severity::Error)
}

fn datapath(pins: &Pins) -> Datapath {
    let mut datapath = Datapath { pin_dir: pins.root().display().to_string(), ..Datapath::default() };
    if let Err(error) = look(pins, &mut datapath) {
        datapath.error = Some(format!("{:#}", anyhow::Error::from(error)));
    }
    datapath
}

/// Fills in what pins and maps know, up to where they cannot be read.
fn look(pins: &Pins, datapath: &mut Datapath) -> Result<(), dataplane::Error> {
    datapath.other_versions = pins.other_versions();
    datapath.pinned = pins.exist()?;
    if datapath.pinned {
        datapath.uplinks = dataplane::attached(pins)?;
        datapath.layout = pins.schema()?.map(|it| Layout { version: it.layout, taken_over: it.taken_over });
        let opened = read::open(pins)?;
        let state = opened.state()?;
        datapath.node = state.this_node().map(str::to_owned);
        datapath.fill = fill::rows(&opened, &state)?;
        let total = breaks::sum(&opened, &state)?;
        datapath.breaks = Some(BreakCount { total, lost_events: breaks::lost_events(&opened)? });
    }
    Ok(())
}

fn document<'a>(answer: &'a Answer, datapath: &'a Datapath) -> Result<Document<'a>> {
    let mut agent = Map::new();
    agent.insert("alive".to_owned(), answer.is_ok().into());
    let problems = match answer {
        Ok(said) => {
            if let Value::Object(fields) = serde_json::to_value(said).context("cannot write JSON")? {
                agent.extend(fields);
            }
            // They stand beside the agent: one place for whatever is wrong.
            agent.remove("problems");
            agent.entry("ready").or_insert((said.syncs > 0).into());
            said.problems.as_slice()
        }
        Err(error) => {
            agent.insert("ready".to_owned(), false.into());
            agent.insert("reason".to_owned(), error.to_string().into());
            &[]
        }
    };
    Ok(Document { agent, datapath, problems })
}

fn text(answer: &Answer, datapath: &Datapath, options: &OutputOptions) -> Result<String> {
    let mut lines = match answer {
        Ok(agent) => agent_lines(agent),
        Err(error) if error.says_dead() && datapath.pinned => {
            vec![format!("{}; the datapath goes on with what was last programmed", error.sentence())]
        }
        Err(error) => vec![error.sentence()],
    };
    lines.extend(datapath_lines(datapath, answer.is_ok()));
    let mut text = lines.iter().map(|line| one_line(line) + "\n").collect::<String>();
    if !datapath.fill.is_empty() {
        text += "\n";
        text += &output::rows(&datapath.fill, options)?;
    }
    let problems = answer.as_ref().map(|agent| agent.problems.as_slice()).unwrap_or_default();
    if !problems.is_empty() {
        text += "\n";
        text += &problem_table(problems, options);
    }
    Ok(text)
}

fn agent_lines(agent: &AgentStatus) -> Vec<String> {
    let AgentStatus { version, pid, uptime_seconds, syncs, .. } = agent;
    let last = agent.last_sync_seconds_ago.map_or_else(|| "never yet".to_owned(), |ago| format!("{} ago", age(ago)));
    let step = if agent.in_step { "yes" } else { "no" };
    let mut lines = vec![
        format!("agent: alive (process {pid}, version {version}, up {})", age(*uptime_seconds)),
        format!("node: {}", agent.node),
        source_line(&agent.source),
        format!("in step: {step} (rounds: {syncs}, the last {last})"),
    ];
    lines.extend(agent.error.as_ref().map(|error| format!("error: {error}")));
    lines.push(uplink_line(&agent.uplinks));
    lines
}

fn source_line(source: &SourceStatus) -> String {
    let SourceStatus { place, complete, services, endpoint_slices, nodes, age_seconds, connected, .. } = source;
    let part = if *complete { "" } else { "; not all of it could be read, so nothing is removed" };
    let objects = format!("Services {services}, EndpointSlices {endpoint_slices}, Nodes {nodes}{part}");
    if !connected {
        let since = source.disconnected_seconds.map(|seconds| format!(" for {}", age(seconds))).unwrap_or_default();
        let error = source.error.as_deref().unwrap_or("no answer yet");
        return format!("source: {place}, not connected{since}: {error}; the datapath stays as it is ({objects})");
    }
    // A directory is not connected to; it is there or not.
    let connected = if place.starts_with("dir:") { "" } else { " connected," };
    format!("source: {place},{connected} as of {} ago: {objects}", age(*age_seconds))
}

fn uplink_line(uplinks: &[Attached]) -> String {
    let uplinks = uplinks.iter().map(|uplink| format!("{} (XDP {})", uplink.device, uplink.mode.name()));
    format!("uplinks: {}", list(uplinks))
}

fn datapath_lines(datapath: &Datapath, agent_told: bool) -> Vec<String> {
    let Datapath { pin_dir, pinned, layout, node, uplinks, other_versions, fill: _, breaks, error } = datapath;
    let mut lines = Vec::new();
    if *pinned && !agent_told {
        lines.push(format!("node: {}", node.as_deref().unwrap_or(NOTHING_THERE)));
        lines.push(uplink_line(uplinks));
    }
    lines.push(match error {
        Some(error) => format!("datapath: cannot be read: {error}"),
        None if *pinned => {
            format!("datapath: pinned in {pin_dir}{}", layout.as_ref().map(layout_words).unwrap_or_default())
        }
        None => format!("datapath: nothing is pinned in {pin_dir}"),
    });
    lines.extend(breaks.map(break_line));
    if !other_versions.is_empty() {
        lines.push(format!(
            "other pins: {} (an agent that starts removes what agents left; `limpet detach` removes all, with what they hold)",
            list(other_versions)
        ));
    }
    lines
}

fn layout_words(Layout { version, taken_over }: &Layout) -> String {
    let taken_over = taken_over.as_ref().map(|TakenOver { from_layout, at }| {
        let from = if from_layout == version { "other limits".to_owned() } else { format!("layout {from_layout}") };
        format!(", taken over from {from} at {at}")
    });
    format!(" (layout {version}{})", taken_over.unwrap_or_default())
}

fn break_line(BreakCount { total, lost_events }: BreakCount) -> String {
    let lost = if lost_events == 0 { String::new() } else { format!(", {lost_events} not told one by one") };
    if total == 0 {
        return format!("breaks: none{lost}");
    }
    format!("breaks: {total} since the Services were programmed{lost} (`limpet breaks -A` says more)")
}

/// Problems as a table: the errors first.
pub(super) fn problem_table(problems: &[Problem], options: &OutputOptions) -> String {
    let mut problems: Vec<&Problem> = problems.iter().collect();
    problems.sort();
    let row = |problem: &Problem| {
        let severity = match problem.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let or_nothing = |text: &Option<String>| text.clone().unwrap_or_else(|| NOTHING_THERE.to_owned());
        let (object, field, file) = (&problem.object, &problem.field, &problem.file);
        vec![severity.to_owned(), or_nothing(object), or_nothing(field), or_nothing(file), problem.message.clone()]
    };
    let header = ["SEVERITY", "OBJECT", "FIELD", "FILE", "PROBLEM"];
    let header = if options.no_headers { [].as_slice() } else { header.as_slice() };
    output::table(header, problems.into_iter().map(row))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use serde_json::json;

    use super::*;
    use crate::{dataplane::XdpMode, model::Family};

    fn agent() -> AgentStatus {
        serde_json::from_value(json!({
            "version": "0.1.0", "node": "n1", "pid": 7, "uptime_seconds": 192, "ready": true,
            "source": {
                "place": "dir:/d", "complete": true, "services": 2, "endpoint_slices": 3, "nodes": 1, "age_seconds": 5,
                "connected": true,
            },
            "in_step": true, "syncs": 2, "last_sync_seconds_ago": 5, "error": null,
            "uplinks": [{"device": "eth0", "index": 3, "mode": "generic"}],
            "problems": [
                {"severity": "warning", "file": "a.yaml", "object": "Node n9", "field": null, "message": "no address"},
            ],
        }))
        .unwrap()
    }

    fn datapath() -> Datapath {
        Datapath {
            pin_dir: "/pins".to_owned(),
            pinned: true,
            node: Some("n1".to_owned()),
            uplinks: vec![Attached { device: "eth0".to_owned(), index: 3, mode: XdpMode::Generic }],
            fill: vec![FillRow { what: "flows", family: Some(Family::V4), used: 1, room: 4 }],
            breaks: Some(BreakCount { total: 44, lost_events: 2 }),
            ..Datapath::default()
        }
    }

    fn dead() -> Answer {
        Err(client::Error::NoSocket { path: PathBuf::from("/s") })
    }

    #[test]
    fn text_with_an_agent() {
        let expected = "\
agent: alive (process 7, version 0.1.0, up 3m12s)
node: n1
source: dir:/d, as of 5s ago: Services 2, EndpointSlices 3, Nodes 1
in step: yes (rounds: 2, the last 5s ago)
uplinks: eth0 (XDP generic)
datapath: pinned in /pins
breaks: 44 since the Services were programmed, 2 not told one by one (`limpet breaks -A` says more)

WHAT   FAMILY  USED  ROOM  FILL
flows  IPv4    1     4     25.0%

SEVERITY  OBJECT   FIELD  FILE    PROBLEM
warning   Node n9  -      a.yaml  no address
";
        assert_eq!(text(&Ok(agent()), &datapath(), &OutputOptions::default()).unwrap(), expected);
    }

    #[test]
    fn text_without_an_agent() {
        let expected = "\
agent: not running (no socket at /s); the datapath goes on with what was last programmed
node: n1
uplinks: eth0 (XDP generic)
datapath: pinned in /pins
breaks: 44 since the Services were programmed, 2 not told one by one (`limpet breaks -A` says more)

WHAT   FAMILY  USED  ROOM  FILL
flows  IPv4    1     4     25.0%
";
        assert_eq!(text(&dead(), &datapath(), &OutputOptions::default()).unwrap(), expected);
        let nothing = Datapath { pin_dir: "/pins".to_owned(), ..Datapath::default() };
        let expected = "agent: not running (no socket at /s)\ndatapath: nothing is pinned in /pins\n";
        assert_eq!(text(&dead(), &nothing, &OutputOptions::default()).unwrap(), expected);
    }

    #[test]
    fn json_has_the_agent_the_datapath_and_the_problems() {
        let datapath = datapath();
        let value = serde_json::to_value(document(&Ok(agent()), &datapath).unwrap()).unwrap();
        assert_eq!(value["agent"]["alive"], json!(true));
        assert_eq!(value["agent"]["ready"], json!(true));
        assert_eq!(value["agent"]["uptime_seconds"], json!(192));
        assert_eq!(value["agent"].get("problems"), None);
        assert_eq!(value["problems"][0]["object"], json!("Node n9"));
        let expected = json!({
            "pin_dir": "/pins", "pinned": true, "layout": null, "node": "n1",
            "uplinks": [{"device": "eth0", "index": 3, "mode": "generic"}], "other_versions": [],
            "fill": [{"what": "flows", "family": "IPv4", "used": 1, "room": 4}],
            "breaks": {"total": 44, "lost_events": 2}, "error": null,
        });
        assert_eq!(value["datapath"], expected);

        let value = serde_json::to_value(document(&dead(), &datapath).unwrap()).unwrap();
        assert_eq!(value["agent"], json!({"alive": false, "ready": false, "reason": "no socket at /s"}));
        assert_eq!(value["problems"], json!([]));
    }

    #[test]
    fn the_layout_says_what_went_before() {
        let of = |taken_over: Option<(u32, &str)>| {
            let taken_over = taken_over.map(|(from_layout, at)| TakenOver { from_layout, at: at.to_owned() });
            layout_words(&Layout { version: 4, taken_over })
        };
        assert_eq!(of(None), " (layout 4)");
        assert_eq!(of(Some((3, "T"))), " (layout 4, taken over from layout 3 at T)");
        assert_eq!(of(Some((4, "T"))), " (layout 4, taken over from other limits at T)");
    }

    #[test]
    fn the_source_says_whether_it_is_connected() {
        let source = SourceStatus {
            place: "kube (https://10.0.0.1)".to_owned(),
            complete: true,
            services: 2,
            endpoint_slices: 3,
            nodes: 1,
            age_seconds: 1,
            connected: true,
            ..SourceStatus::default()
        };
        assert_eq!(
            source_line(&source),
            "source: kube (https://10.0.0.1), connected, as of 1s ago: Services 2, EndpointSlices 3, Nodes 1"
        );
        let error = Some("cannot reach it".to_owned());
        let away = SourceStatus { connected: false, error, disconnected_seconds: Some(35), ..source };
        assert_eq!(
            source_line(&away),
            "source: kube (https://10.0.0.1), not connected for 35s: cannot reach it; the datapath stays as it is \
             (Services 2, EndpointSlices 3, Nodes 1)"
        );
        assert!(!is_well(&AgentStatus { source: away, ..agent() }));
    }

    #[test]
    fn nothing_broken_is_said_shortly() {
        assert_eq!(break_line(BreakCount::default()), "breaks: none");
        assert_eq!(break_line(BreakCount { total: 0, lost_events: 3 }), "breaks: none, 3 not told one by one");
    }

    #[test]
    fn well_is_in_step_without_errors() {
        assert!(is_well(&agent()));
        assert!(!is_well(&AgentStatus { in_step: false, ..agent() }));
        assert!(!is_well(&AgentStatus { error: Some("e".to_owned()), ..agent() }));
        let problems = vec![Problem::warning("w"), Problem::error("e")];
        assert!(!is_well(&AgentStatus { problems, ..agent() }));
    }
}
