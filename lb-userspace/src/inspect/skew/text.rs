//! What `limpet skew` says to people.

use super::{PodSkew, SHOWN_PREFIXES, SUSPECT_FLOWS, SUSPECT_TIMES_MEDIAN, Skew};
use crate::{
    cli::OutputOptions,
    inspect::{
        output::{self, NOTHING_THERE, percent},
        state::BackendState,
    },
};

/// Suspects that are shown.
const SHOWN_SUSPECTS: usize = 10;

/// All of it.
pub fn of(skew: &Skew, options: &OutputOptions) -> String {
    let Skew { service, clients, not_held, usable_pods, .. } = skew;
    let left_out = if *not_held == 0 { String::new() } else { format!(" ({not_held} more held no longer)") };
    let mut text = format!("Service:    {service}\nClients:    {clients}{left_out}\n");
    text += &format!("Pods:       {usable_pods} usable, fair share {}\n", percent(skew.fair_share));
    text += &pod_table(skew, options);
    if !skew.prefixes.is_empty() {
        text += &match skew.prefixes.len() {
            SHOWN_PREFIXES => format!("Networks:   the {SHOWN_PREFIXES} with most clients\n"),
            all => format!("Networks:   {all}\n"),
        };
        let rows = skew
            .prefixes
            .iter()
            .map(|row| vec![row.prefix.clone(), row.clients.to_string(), percent(row.share), row.flows.to_string()]);
        text += &block(&["PREFIX", "CLIENTS", "SHARE", "FLOWS"], rows.collect(), options);
    }
    text + &suspect_text(skew, options)
}

fn pod_table(skew: &Skew, options: &OutputOptions) -> String {
    let both = skew.families.len() > 1;
    let mut header = vec!["POD", "NODE", "STATE", "CLIENTS"];
    if both {
        header.extend(["IPV4", "IPV6"]);
    }
    header.extend(["SHARE", "FAIR", "RATIO"]);
    let row = |pod: &PodSkew| {
        let nothing = || NOTHING_THERE.to_owned();
        let mut cells = vec![
            pod.backend.clone().unwrap_or_else(|| "(name unknown)".to_owned()),
            pod.node.clone().unwrap_or_else(nothing),
            pod.state.to_string(),
            pod.clients.to_string(),
        ];
        if both {
            cells.extend([pod.clients_v4.to_string(), pod.clients_v6.to_string()]);
        }
        let fair = if pod.state == BackendState::Active { skew.fair_share } else { 0.0 };
        let ratio = pod.ratio.map_or_else(nothing, |ratio| format!("{ratio:.2}"));
        cells.extend([percent(pod.share), percent(fair), ratio]);
        cells
    };
    block(&header, skew.pods.iter().map(row).collect(), options)
}

fn suspect_text(skew: &Skew, options: &OutputOptions) -> String {
    if skew.suspects.is_empty() {
        return format!(
            "Suspects:   none: no address has {SUSPECT_FLOWS} flows and more than {SUSPECT_TIMES_MEDIAN} times the median of {}\n",
            skew.median_flows
        );
    }
    let mut text = format!(
        "Suspects:   {} with many more flows than the median of {}: looks like NAT, and affinity sends all behind one \
         address to one Pod\n",
        skew.suspects.len(),
        skew.median_flows
    );
    let rows = skew.suspects.iter().take(SHOWN_SUSPECTS).map(|suspect| {
        let place = suspect.backend.clone().unwrap_or_else(|| NOTHING_THERE.to_owned());
        vec![suspect.client.to_string(), suspect.flows.to_string(), place]
    });
    text += &block(&["CLIENT", "FLOWS", "POD"], rows.collect(), options);
    text
}

fn block(header: &[&str], rows: Vec<Vec<String>>, options: &OutputOptions) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let table = output::table(if options.no_headers { &[] } else { header }, rows);
    table.lines().map(|line| format!("  {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::{super::tests::skew, *};

    #[test]
    fn text_of_a_skewed_service() {
        let expected = "\
Service:    default/web:http/TCP
Clients:    4 (1 more held no longer)
Pods:       2 usable, fair share 50.0%
  POD            NODE  STATE     CLIENTS  SHARE  FAIR   RATIO
  default/web-0  n1    active    3        75.0%  50.0%  1.50
  default/web-1  n2    active    0        0.0%   50.0%  0.00
  default/web-2  n2    draining  1        25.0%  0.0%   -
Networks:   2
  PREFIX           CLIENTS  SHARE  FLOWS
  198.51.100.0/24  3        75.0%  73
  203.0.113.0/24   1        25.0%  4
Suspects:   1 with many more flows than the median of 2: looks like NAT, and affinity sends all behind one address to one Pod
  CLIENT        FLOWS  POD
  198.51.100.1  70     default/web-0
";
        assert_eq!(of(&skew(), &OutputOptions::default()), expected);
    }

    #[test]
    fn both_families_have_a_column_where_there_are_both() {
        let both = Skew { families: crate::model::Family::ALL.to_vec(), suspects: Vec::new(), ..skew() };
        let text = of(&both, &OutputOptions::default());
        assert!(text.contains("CLIENTS  IPV4  IPV6  SHARE"), "{text}");
        assert!(text.contains("default/web-0  n1    active    3        3     0     75.0%"), "{text}");
        assert!(
            text.contains("Suspects:   none: no address has 64 flows and more than 10 times the median of 2"),
            "{text}"
        );
    }
}
