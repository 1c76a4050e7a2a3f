//! What a target says at its end: how much it tried, and what it found.

use std::path::{Path, PathBuf};

/// What a target did.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Outcome {
    target: String,
    executions: u64,
    finding: Option<Finding>,
}

/// An input that something does not hold for.
#[derive(Debug, Eq, PartialEq)]
struct Finding {
    /// What happened, in the words of the panic, or the fuzzer's.
    what: String,
    /// The input.
    input: String,
    /// The program to give it to.
    program: PathBuf,
}

impl Outcome {
    /// Reads what the target printed.
    pub(super) fn read(target: String, log: &str, program: &Path) -> Self {
        let input = log.lines().find_map(|line| line.split_once("Test unit written to ")).map(|(_, path)| path.trim());
        let finding = input.map(|input| Finding {
            what: what_happened(log),
            input: input.to_owned(),
            program: program.to_owned(),
        });
        Self { target, executions: executed(log), finding }
    }

    /// Whether something was found.
    pub(super) fn is_finding(&self) -> bool {
        self.finding.is_some()
    }

    /// A line, and where something was found, what and how to replay it.
    pub(super) fn text(&self) -> String {
        let Self { target, executions, finding } = self;
        match finding {
            None => format!("passed {target}: {executions} executions"),
            Some(Finding { what, input, program }) => format!(
                "FOUND  {target}: {what}\n  input: {input}\n  replay: {} {input}\n  then: tests/fuzz/README.md",
                program.display()
            ),
        }
    }
}

/// How many inputs have been tried, by the last of the fuzzer's lines (`#1024 NEW ...`).
pub(super) fn so_far(log: &str) -> Option<u64> {
    log.lines().rev().find_map(|line| line.strip_prefix('#')?.split_whitespace().next()?.parse().ok())
}

/// How many inputs were tried in all: what the statistics say at the end, or, where they are missing, the last line.
fn executed(log: &str) -> u64 {
    let stated = log.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    stated.and_then(|count| count.trim().parse().ok()).or_else(|| so_far(log)).unwrap_or(0)
}

/// The panic's message, or the fuzzer's own, as of a timeout.
fn what_happened(log: &str) -> String {
    let mut lines = log.lines();
    let panic = lines.find(|line| line.contains(" panicked at ")).map(|place| {
        let message = lines.next().unwrap_or_default();
        let place = place.split_once(" panicked at ").map_or(place, |(_, place)| place);
        format!("{} {message}", place.trim())
    });
    let own = || log.lines().find_map(|line| line.split_once("ERROR: libFuzzer: ")).map(|(_, what)| what.to_owned());
    panic.or_else(own).unwrap_or_else(|| "for an unknown reason".to_owned())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Outcome, so_far};

    fn text(log: &str) -> String {
        Outcome::read("objects".to_owned(), log, Path::new("/target/objects")).text()
    }

    #[test]
    fn a_run_that_found_nothing_says_how_much_it_tried() {
        let log = "#2\tINITED cov: 7\n#1024\tpulse  cov: 9\nDone 1500 runs in 61 second(s)\n\
                   stat::number_of_executed_units: 1500\nstat::peak_rss_mb: 40\n";
        assert_eq!(text(log), "passed objects: 1500 executions");
        assert_eq!(so_far(log), Some(1024));
        assert_eq!(so_far("INFO: Seed: 1\n"), None);
    }

    #[test]
    fn a_finding_says_what_where_and_how_to_replay_it() {
        let replay = "\n  input: /f/crash-1\n  replay: /target/objects /f/crash-1\n  then: tests/fuzz/README.md";
        let written = "artifact_prefix='/f/'; Test unit written to /f/crash-1\n";
        let panic = "#8\tNEW cov: 9\n\nthread '<unnamed>' (7) panicked at src/a.rs:1:2:\nno such id\nnote: run with\n\
                     ==7== ERROR: libFuzzer: deadly signal\n";
        let slow = "#8\tNEW cov: 9\nALARM: working on the last Unit for 21 seconds\n\
                    ==7== ERROR: libFuzzer: timeout after 21 seconds\n";
        for (log, what) in [(panic, "src/a.rs:1:2: no such id"), (slow, "timeout after 21 seconds")] {
            assert_eq!(text(&format!("{log}{written}")), format!("FOUND  objects: {what}{replay}"));
        }
    }
}
