//! What happened, in words and figures.

use std::fmt::Write as _;
use std::time::Duration;

use limpet_lab::flood::Sent;

use crate::load::{SECOND_SYN, Served};
use crate::node::{Asked, Counters, Datapath};

/// Prints what a flood was, and how everybody was served meanwhile.
pub(crate) fn print(act: &str, sent: Sent, grown: &[Counters], served: &Served) {
    println!("\n{act}");
    println!("  flood: {} frames in {:.1} s, {:.0} a second", sent.frames, sent.time.as_secs_f64(), sent.rate());
    for (counters, node) in grown.iter().zip(1..) {
        let all: u64 = counters.iter().filter(|(reason, _)| !is_egress(reason)).map(|(_, (_, packets))| packets).sum();
        println!("  n{node}: {all} packets in, {}", list(counters, |_, class| class == "drop" || class == "answer"));
        println!("  n{node}, out: {}", list(counters, |reason, _| is_egress(reason)));
    }
    let Served { data, silent, newcomers, returns } = served;
    println!("  held connections: {} transfers, {} broke{}", data.moves, data.broken.len(), example(&data.broken));
    let (heard, broke) = (silent.heard, silent.broken.len());
    println!("  silent connections: Pods were heard {heard} times, {broke} broke{}", example(&silent.broken));
    let (moved, failed) = (returns.moved.len(), returns.failed.len());
    println!(
        "  clients who came back: {} found their Pod, {moved} another one, {failed} none{}",
        returns.found,
        example(if moved > 0 { &returns.moved } else { &returns.failed })
    );
    let (answered, failed) = (newcomers.waited.len(), newcomers.failed.len());
    let late = newcomers.waited.iter().filter(|waited| **waited >= SECOND_SYN).count();
    println!(
        "  newcomers: {answered} answered, {late} of them by a second SYN, {failed} not{}",
        example(&newcomers.failed)
    );
    println!("  newcomers' time until the answer: {}", percentiles(&newcomers.waited));
}

/// Prints how the flooded node was.
pub(crate) fn print_node(asked: &Asked, datapath: &Datapath) {
    let longest: Vec<String> = asked.0.iter().map(|(what, took)| format!("{what} {}", milliseconds(*took))).collect();
    println!("  answers of the flooded node, the longest of each: {}", longest.join(", "));
    let lru = datapath
        .fill
        .iter()
        .filter(|row| ["flows", "replies", "clients"].iter().any(|what| row.what.starts_with(what)));
    for row in lru {
        println!("  {} {}: {} of {}", row.what, row.family.as_deref().unwrap_or("-"), row.used, row.room);
    }
    println!("  clients who were given another Pod, as Limpet counts them: {}", datapath.breaks());
}

fn is_egress(reason: &str) -> bool {
    reason.starts_with("egress-") || reason.starts_with("reply-")
}

fn list(counters: &Counters, wanted: impl Fn(&str, &str) -> bool) -> String {
    let wanted = counters.iter().filter(|(reason, (class, _))| wanted(reason, class));
    let each: Vec<String> = wanted.map(|(reason, (_, packets))| format!("{reason} {packets}")).collect();
    if each.is_empty() { "nothing".to_owned() } else { each.join(", ") }
}

fn example(lines: &[String]) -> String {
    lines.first().map_or_else(String::new, |line| format!(", such as: {line}"))
}

fn percentiles(times: &[Duration]) -> String {
    let mut times = times.to_vec();
    times.sort_unstable();
    let mut text = String::new();
    for per_cent in [50, 90, 99, 100] {
        let at = (times.len() * per_cent / 100).min(times.len().saturating_sub(1));
        if let Some(time) = times.get(at) {
            // Writing to a string does not fail.
            let _ = write!(text, "p{per_cent} {} ", milliseconds(*time));
        }
    }
    text
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}
