//! `limpet`, built with another layout of the maps: what an upgrade meets. Nothing else is different.

#[path = "../main.rs"]
mod limpet;

use std::process::ExitCode;

fn main() -> ExitCode {
    limpet::main()
}
