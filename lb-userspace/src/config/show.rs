//! `limpet config`: every setting with its value, and where that is from.

use anyhow::Result;

use super::{Origin, Setting};
use crate::{
    cli::ConfigOptions,
    inspect::{
        Said,
        output::{self, NOTHING_THERE, Row},
    },
};

/// The exit code for what nobody could start with.
const WRONG_USAGE: u8 = 2;

impl Row for Setting {
    fn header(wide: bool) -> Vec<&'static str> {
        let mut header = vec!["NAME", "VALUE", "FROM"];
        if wide {
            header.extend(["DEFAULT", "VARIABLE"]);
        }
        header
    }

    fn cells(&self, wide: bool) -> Vec<String> {
        let or_nothing = |text: &Option<String>| text.clone().unwrap_or_else(|| NOTHING_THERE.to_owned());
        let mut cells = vec![self.name.clone(), or_nothing(&self.value), self.origin()];
        if wide {
            cells.extend([or_nothing(&self.default), self.variable.clone()]);
        }
        cells
    }
}

/// Carries the command out; says with which code to end: wrong usage, when no agent could start with this.
///
/// # Errors
/// When the output cannot be made.
pub fn run(options: &ConfigOptions, settings: &[Setting]) -> Result<(Said, u8)> {
    let mut said = Said::text(output::rows(settings, &options.output)?);
    let lacks_node = |setting: &Setting| setting.name == "node" && setting.from == Origin::Default;
    if settings.iter().any(lacks_node) {
        said.notes.push("an agent needs the node's name: --node, LIMPET_NODE, or `node:` in the file".to_owned());
        return Ok((said, WRONG_USAGE));
    }
    Ok((said, 0))
}
