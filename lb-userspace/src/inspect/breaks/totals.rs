//! How often clients of each Service port were given another backend, by reason: from the pinned counters.

use std::collections::{BTreeMap, BTreeSet};

use lb_common::{breaks::BreakReason, layout::BreakCounts};
use serde::Serialize;

use super::super::{
    output,
    read::Opened,
    state::{ServicePort, State},
};
use crate::{
    cli::{Format, OutputOptions},
    dataplane::Error,
};

/// The breaks of a Service port since it was programmed.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(super) struct Total {
    /// The Service port.
    pub service: ServicePort,
    /// How many of each reason; all reasons are there.
    pub reasons: BTreeMap<&'static str, u64>,
    /// How many in all.
    pub total: u64,
}

impl Total {
    /// Of these counts, which are by the reasons' numbers.
    pub(super) fn new(service: ServicePort, counts: &BreakCounts) -> Self {
        let of = |reason: BreakReason| counts.get(reason.index() as usize).copied().unwrap_or(0);
        let reasons: BTreeMap<_, _> = BreakReason::ALL.iter().map(|reason| (reason.name(), of(*reason))).collect();
        let total = reasons.values().fold(0, |sum: u64, count| sum.wrapping_add(*count));
        Self { service, reasons, total }
    }

    fn count(&self, reason: BreakReason) -> u64 {
        self.reasons.get(reason.name()).copied().unwrap_or(0)
    }
}

/// The totals of the Service ports that are wanted, sorted; only those that hold their clients, or lost some.
///
/// # Errors
/// When the map cannot be read.
pub(super) fn read(
    opened: &Opened,
    state: &State,
    is_wanted: impl Fn(&ServicePort) -> bool,
) -> Result<Vec<Total>, Error> {
    let holding = state.frontends.iter().filter(|frontend| frontend.affinity.is_some());
    let holding: BTreeSet<u32> = holding.map(|frontend| frontend.service).collect();
    let mut totals = Vec::new();
    for (id, service) in state.services.iter().filter(|(_, service)| is_wanted(service)) {
        let total = Total::new(service.clone(), &counts(opened, *id)?);
        if total.total > 0 || holding.contains(id) {
            totals.push(total);
        }
    }
    totals.sort_by(|one, other| one.service.cmp(&other.service));
    Ok(totals)
}

/// Breaks of all Service ports that have a name.
///
/// # Errors
/// When the map cannot be read.
pub fn sum(opened: &Opened, state: &State) -> Result<u64, Error> {
    let totals = read(opened, state, |_| true)?;
    Ok(totals.iter().fold(0, |sum: u64, total| sum.wrapping_add(total.total)))
}

/// Breaks of the whole node that are counted alone: there were too many in a second, or nobody fetched them.
///
/// # Errors
/// When the map cannot be read.
pub fn lost_events(opened: &Opened) -> Result<u64, Error> {
    let cpus = opened.maps.break_rate.get(&0, 0).map_err(|source| Error::map("BREAK_RATE", source))?;
    Ok(cpus.iter().fold(0, |sum: u64, rate| sum.wrapping_add(rate.0.lost)))
}

/// Breaks of a Service port by the numbers of their reasons, since its id was given to it.
///
/// # Errors
/// When the map cannot be read.
pub fn counts(opened: &Opened, service: u32) -> Result<BreakCounts, Error> {
    let cpus = opened.maps.breaks.get(&service, 0).map_err(|source| Error::map("BREAKS", source))?;
    let mut sums = BreakCounts::default();
    for counts in cpus.iter() {
        for (sum, count) in sums.iter_mut().zip(counts.0) {
            *sum = sum.wrapping_add(count);
        }
    }
    Ok(sums)
}

/// A table with a column for each reason that there was, or for all.
pub(super) fn table(totals: &[Total], options: &OutputOptions) -> String {
    if totals.is_empty() {
        return String::new();
    }
    let is_shown =
        |reason: &BreakReason| options.format == Format::Wide || totals.iter().any(|total| total.count(*reason) > 0);
    let shown: Vec<BreakReason> = BreakReason::ALL.into_iter().filter(is_shown).collect();
    let columns: Vec<String> = shown.iter().map(|reason| reason.name().to_uppercase()).collect();
    let header = ["SERVICE"].into_iter().chain(columns.iter().map(String::as_str)).chain(["TOTAL"]);
    let header: Vec<&str> = if options.no_headers { Vec::new() } else { header.collect() };
    let row = |total: &Total| {
        let counts = shown.iter().map(|reason| total.count(*reason)).chain([total.total]);
        [total.service.to_string()].into_iter().chain(counts.map(|count| count.to_string())).collect()
    };
    output::table(&header, totals.iter().map(row))
}

#[cfg(test)]
mod tests {
    use super::{super::super::state::sample::service, *};

    fn totals() -> Vec<Total> {
        let web = [3, 0, 0, 41, 0, 0, 0, 0];
        vec![
            Total::new(service("default", "web", "http", "TCP"), &web),
            Total::new(service("shop", "cart", "", "UDP"), &BreakCounts::default()),
        ]
    }

    #[test]
    fn a_column_for_each_reason_that_there_was() {
        let expected = "\
SERVICE               BACKEND-GONE  EXPIRED  TOTAL
default/web:http/TCP  3             41       44
shop/cart:/UDP        0             0        0
";
        assert_eq!(table(&totals(), &OutputOptions::default()), expected);
        let quiet = OutputOptions { no_headers: true, ..OutputOptions::default() };
        assert_eq!(table(&totals()[1..], &quiet), "shop/cart:/UDP  0\n");
        let wide = table(&totals(), &OutputOptions { format: Format::Wide, no_headers: false, cells: false });
        let header: Vec<&str> = wide.lines().next().unwrap().split_whitespace().collect();
        assert_eq!(header.len(), BreakReason::ALL.len() + 2, "{header:?}");
    }

    #[test]
    fn nothing_is_no_table() {
        assert_eq!(table(&[], &OutputOptions::default()), "");
    }

    #[test]
    fn json_has_all_reasons() {
        let value = serde_json::to_value(&totals()[0]).unwrap();
        let expected = serde_json::json!({
            "service": {"namespace": "default", "name": "web", "port": "http", "protocol": "TCP"},
            "reasons": {
                "backend-gone": 3, "not-ready": 0, "draining": 0, "expired": 41, "evicted": 0, "config-changed": 0,
                "forgotten": 0,
            },
            "total": 44,
        });
        assert_eq!(value, expected);
    }
}
