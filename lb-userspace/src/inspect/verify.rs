//! `limpet verify`: what is programmed, compared by the running agent with what should be.

use anyhow::{Result, bail};

use super::{
    Said, client,
    output::{self, Row},
};
use crate::{
    api::{AgentVerification, Difference},
    cli::{Format, Places, VerifyOptions},
};

/// Exit code where something is different.
const DIFFERENT: u8 = 3;

/// Carries the command out; says with which code to end.
///
/// # Errors
/// When no agent runs, or it cannot tell.
pub fn run(options: &VerifyOptions, places: &Places) -> Result<(Said, u8)> {
    let said = match client::verify(&places.socket, options.repair) {
        Ok(said) => said,
        Err(error) if error.says_dead() => bail!(
            "{}; it alone knows what should be programmed: start one (`limpet agent`), which puts right by itself what it finds \
             different, or see what is programmed with `limpet get` and `limpet status`",
            error.sentence()
        ),
        Err(error) => return Err(error.into()),
    };
    let text = match options.output.format {
        Format::Json => output::json(&said)?,
        Format::Table | Format::Wide => output::rows(&said.differences, &options.output)?,
    };
    let code = if said.differences.is_empty() { 0 } else { DIFFERENT };
    Ok((Said { text, notes: notes(&said, options.repair), unwell: code != 0 }, code))
}

/// What people should know beside the table.
fn notes(said: &AgentVerification, repair: bool) -> Vec<String> {
    let mut notes = said.notes.clone();
    let AgentVerification { node, differences, repaired, .. } = said;
    let left = differences.len();
    notes.push(match (left, *repaired) {
        (0, 0) => format!("node {node}: what is programmed is what should be"),
        (0, repaired) => format!("node {node}: put right: {repaired}"),
        (left, repaired) if repair => format!("node {node}: put right: {repaired}, still different: {left}"),
        (left, _) => format!("node {node}: different: {left}; `limpet verify --repair` puts it right"),
    });
    notes
}

impl Row for Difference {
    fn header(_wide: bool) -> Vec<&'static str> {
        vec!["OBJECT", "WHAT", "PROGRAMMED", "DESIRED"]
    }

    fn cells(&self, _wide: bool) -> Vec<String> {
        let Self { object, what, programmed, desired } = self;
        [object, what, programmed, desired].map(String::clone).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::OutputOptions;

    fn said(differences: usize, repaired: usize) -> AgentVerification {
        let [object, what, programmed, desired] =
            ["Backend default/web-0 of default/web:http/TCP", "state", "gone", "active"].map(str::to_owned);
        let difference = Difference { object, what, programmed, desired };
        let node = "n1".to_owned();
        AgentVerification { node, differences: vec![difference; differences], repaired, notes: Vec::new() }
    }

    #[test]
    fn differences_are_a_table() {
        let expected = "\
OBJECT                                         WHAT   PROGRAMMED  DESIRED
Backend default/web-0 of default/web:http/TCP  state  gone        active
";
        assert_eq!(output::rows(&said(1, 0).differences, &OutputOptions::default()).unwrap(), expected);
    }

    #[test]
    fn what_was_found_is_said_in_one_line() {
        let cases = [
            (said(0, 0), false, "node n1: what is programmed is what should be"),
            (said(0, 0), true, "node n1: what is programmed is what should be"),
            (said(0, 7), true, "node n1: put right: 7"),
            (said(2, 5), true, "node n1: put right: 5, still different: 2"),
            (said(2, 0), false, "node n1: different: 2; `limpet verify --repair` puts it right"),
        ];
        for (said, repair, expected) in cases {
            assert_eq!(notes(&said, repair), [expected]);
        }
    }
}
