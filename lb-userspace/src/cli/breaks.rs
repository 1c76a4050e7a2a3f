//! `limpet breaks` on the command line.

use std::str::FromStr;

use clap::Args;
use lb_common::breaks::BreakReason;

use super::{OutputOptions, Scope, ServiceReference};

/// Arguments of `limpet breaks`.
#[derive(Debug, Args)]
pub struct BreaksOptions {
    /// Only those of this Service: NAME, or NAMESPACE/NAME
    #[arg(value_name = "SERVICE")]
    pub service: Option<ServiceReference>,
    /// Tell only breaks of so long ago or less: 30s, 5m, 1h, 2d [default: all that the agent still has]
    #[arg(long, value_name = "TIME")]
    pub since: Option<Period>,
    /// Print breaks as they happen, until Ctrl-C; those of before only with --since. With `-o json` an object a line
    #[arg(short, long)]
    pub watch: bool,
    /// Of which namespaces.
    #[command(flatten)]
    pub scope: Scope,
    /// How to print it.
    #[command(flatten)]
    pub output: OutputOptions,
}

/// What stands below the flags of `limpet breaks`.
pub(super) fn help() -> String {
    let width = BreakReason::ALL.iter().map(|reason| reason.name().len()).max().unwrap_or(0);
    let reason = |reason: &BreakReason| format!("  {:width$}  {}\n", reason.name(), reason.description());
    let reasons: String = BreakReason::ALL.iter().map(reason).collect();
    format!(
        "\
Reasons:
{reasons}
A Service port is listed where its Service has session affinity, or clients were given another backend before.
HELD is how long the client had had the backend that it lost; `-` where that is not known any more, or not a second.
A name is `unknown` when it was forgotten before the agent read of the break.

Examples:
  limpet breaks
  limpet breaks shop/cart --since 1h
  limpet breaks -A -w
  limpet breaks -A -o json"
    )
}

/// A length of time, as it is given on the command line: a number and `s`, `m`, `h` or `d`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Period {
    /// Its seconds.
    pub seconds: u64,
}

impl FromStr for Period {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let units = [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400)];
        let seconds = units.into_iter().find_map(|(unit, seconds)| {
            let digits = text.strip_suffix(unit)?;
            let count = digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse::<u64>().ok())??;
            count.checked_mul(seconds)
        });
        let seconds = seconds.ok_or("a time is a number and one of s, m, h and d, as in 30s, 5m, 1h or 2d")?;
        Ok(Self { seconds })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::{super::Cli, *};

    fn refused(line: &str) -> clap::Error {
        Cli::try_parse_from(line.split(' ')).unwrap_err()
    }

    #[test]
    fn a_period_is_a_number_and_a_unit() {
        let cases = [("30s", 30), ("5m", 300), ("1h", 3600), ("2d", 172_800), ("0s", 0)];
        for (text, seconds) in cases {
            assert_eq!(text.parse(), Ok(Period { seconds }), "{text}");
        }
        for wrong in
            ["", "s", "5", "+5s", "-5s", "1.5h", "5w", "1h30m", "99999999999999999999s", "18446744073709551615d"]
        {
            let error = refused(&format!("limpet breaks --since={wrong}"));
            assert_eq!(error.exit_code(), 2, "{wrong}");
            assert!(wrong.is_empty() || error.to_string().contains("as in 30s, 5m, 1h or 2d"), "{wrong}: {error}");
        }
    }

    #[test]
    fn every_reason_of_a_break_is_explained() {
        let help = refused("limpet breaks --help").to_string();
        for reason in BreakReason::ALL {
            let is_there = |line: &str| line.contains(reason.name()) && line.contains(reason.description());
            assert!(help.lines().any(is_there), "{}: {help}", reason.name());
        }
    }
}
