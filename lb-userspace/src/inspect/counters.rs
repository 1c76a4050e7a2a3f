//! Rows of `limpet get counters`: packets by program and reason, summed over CPUs.

use lb_common::{
    Reason,
    reason::{Class, Program},
};
use serde::Serialize;

use super::{output::Row, state::Counters};
use crate::cli::Format;

/// The reason of the line that adds up a program's.
const TOTAL: &str = "total";

/// Packets that left a program for one reason.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct CounterRow {
    /// `ingress` or `egress`.
    pub program: &'static str,
    /// The reason's name.
    pub reason: &'static str,
    /// `pass`, `drop`, `forward` or `answer`.
    pub class: &'static str,
    /// Packets since the maps were made.
    pub packets: u64,
    /// What the reason means.
    pub description: &'static str,
}

/// The counters as a format shows them: a table has those that are not zero and a sum for each program, `wide` all of
/// them and the sums, JSON all of them.
pub fn rows(counters: &Counters, format: Format) -> Vec<CounterRow> {
    let mut rows = Vec::new();
    for program in [Program::Ingress, Program::Egress] {
        let own: Vec<_> = counters.iter().filter(|(reason, _)| reason.program() == program).collect();
        let is_shown = |packets: u64| packets != 0 || format != Format::Table;
        rows.extend(
            own.iter().filter(|(_, packets)| is_shown(*packets)).map(|(reason, packets)| row(*reason, *packets)),
        );
        if format != Format::Json {
            let packets = own.iter().fold(0_u64, |sum, (_, packets)| sum.wrapping_add(*packets));
            let program = program_name(program);
            rows.push(CounterRow { program, reason: TOTAL, class: "-", packets, description: "all packets seen" });
        }
    }
    rows
}

fn row(reason: Reason, packets: u64) -> CounterRow {
    CounterRow {
        program: program_name(reason.program()),
        reason: reason.name(),
        class: class_name(reason.class()),
        packets,
        description: reason.description(),
    }
}

fn program_name(program: Program) -> &'static str {
    match program {
        Program::Ingress => "ingress",
        Program::Egress => "egress",
    }
}

fn class_name(class: Class) -> &'static str {
    match class {
        Class::Pass => "pass",
        Class::Drop => "drop",
        Class::Forward => "forward",
        Class::Answer => "answer",
    }
}

impl Row for CounterRow {
    fn header(_wide: bool) -> Vec<&'static str> {
        vec!["PROGRAM", "REASON", "CLASS", "PACKETS", "DESCRIPTION"]
    }

    fn cells(&self, _wide: bool) -> Vec<String> {
        let Self { program, reason, class, packets, description } = self;
        let packets = packets.to_string();
        vec![(*program).to_owned(), (*reason).to_owned(), (*class).to_owned(), packets, (*description).to_owned()]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::output, *};
    use crate::cli::OutputOptions;

    fn counters() -> Counters {
        let counted = |reason: Reason| match reason {
            Reason::NotIp => 3,
            Reason::LocalNew => 4,
            Reason::ReplyRestored => 5,
            _ => 0,
        };
        Reason::ALL.into_iter().map(|reason| (reason, counted(reason))).collect()
    }

    #[test]
    fn a_table_has_what_is_not_zero_and_the_sums() {
        let expected = "\
PROGRAM  REASON          CLASS    PACKETS  DESCRIPTION
ingress  not-ip          pass     3        neither IPv4 nor IPv6
ingress  local-new       forward  4        new flow to a Pod on this node
ingress  total           -        7        all packets seen
egress   reply-restored  forward  5        frontend put back as source
egress   total           -        5        all packets seen
";
        let rows = rows(&counters(), Format::Table);
        assert_eq!(output::rows(&rows, &OutputOptions::default()).unwrap(), expected);
    }

    #[test]
    fn wide_and_json_have_all() {
        assert_eq!(rows(&counters(), Format::Wide).len(), Reason::COUNT + 2);
        let rows = rows(&counters(), Format::Json);
        assert_eq!(rows.len(), Reason::COUNT);
        let first = json!({
            "program": "ingress", "reason": "not-ip", "class": "pass", "packets": 3,
            "description": "neither IPv4 nor IPv6",
        });
        assert_eq!(serde_json::to_value(&rows).unwrap()[0], first);
    }
}
