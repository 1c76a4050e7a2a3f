//! What settings there are, how each is read, and which value each has from where.

use std::error::Error;

use clap::{
    Arg, ArgAction, ArgMatches, Command,
    error::{ContextKind, ContextValue},
    parser::ValueSource,
};
use serde::Serialize;

use super::file::File;

/// More than any number of a setting can be, and still one for its parser: what it says then is what is legal.
const TOO_MUCH: i64 = i64::MAX;

/// A setting, as the flags of the agent define it.
#[derive(Clone, Debug)]
pub struct Known {
    /// The key in the file, which is the long name of the flag.
    pub key: String,
    /// The variable.
    pub variable: String,
    argument: Arg,
}

impl Known {
    /// clap's name of the flag.
    pub(super) fn id(&self) -> &str {
        self.argument.get_id().as_str()
    }

    /// Whether the flag may be repeated.
    pub(super) fn is_repeated(&self) -> bool {
        matches!(self.argument.get_action(), ArgAction::Append)
    }

    /// Whether the file may give a list.
    pub(super) fn takes_list(&self) -> bool {
        self.is_repeated() || self.form().ends_with("...")
    }

    /// Whether the value is `true` or `false`.
    fn is_switch(&self) -> bool {
        self.form() == "true|false"
    }

    /// The form of a value, as the help has it.
    pub fn form(&self) -> String {
        let names = self.argument.get_value_names().unwrap_or_default();
        names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    /// The heading that the help has it below; none for the first ones.
    pub fn heading(&self) -> Option<&str> {
        self.argument.get_help_heading()
    }

    /// What it means, in a line.
    pub fn meaning(&self) -> String {
        self.argument.get_help().map(ToString::to_string).unwrap_or_default()
    }

    /// What it is unless told otherwise; none when that is nothing.
    pub fn default(&self) -> Option<String> {
        let defaults = self.argument.get_default_values();
        let texts: Vec<_> = defaults.iter().map(|value| value.to_string_lossy()).collect();
        (!texts.is_empty()).then(|| texts.join(","))
    }

    /// Whether it must be set.
    pub fn is_required(&self) -> bool {
        self.argument.is_required_set()
    }

    /// The numbers that are legal, as in `1..=65535`; none for what is no number.
    pub fn range(&self) -> Option<String> {
        let said = self.parse(&[TOO_MUCH.to_string()]).err()?.source()?.to_string();
        said.split_once(" is not in ").map(|(_, range)| range.to_owned())
    }

    /// Makes sure that these are values of it, or one value with nothing beside.
    ///
    /// # Errors
    /// Which is not, and what would be.
    pub(super) fn check(&self, values: &[String]) -> Result<(), String> {
        self.parse(values).map(|_| ()).map_err(|error| {
            let value = match error.get(ContextKind::InvalidValue) {
                Some(ContextValue::String(value)) => value.clone(),
                _ => values.join(","),
            };
            self.refusal(&value, &error)
        })
    }

    /// What is wrong with a value, and what is legal.
    pub(super) fn refusal(&self, value: &str, error: &clap::Error) -> String {
        let legal = match (self.range(), error.source()) {
            (Some(range), _) => format!("no whole number in {range}"),
            (None, _) if self.is_switch() => "neither true nor false".to_owned(),
            (None, Some(source)) => source.to_string(),
            (None, None) if value.is_empty() => format!("a {} is needed", self.form()),
            (None, None) => format!("not a {}", self.form()),
        };
        format!("{value:?}: {legal}{}", hint(value))
    }

    /// Has the flag's own parser read the values.
    fn parse(&self, values: &[String]) -> Result<ArgMatches, clap::Error> {
        let alone = self.argument.clone().required(false);
        let arguments = values.iter().map(|value| format!("--{}={value}", self.key));
        Command::new("limpet").no_binary_name(true).arg(alone).try_get_matches_from(arguments)
    }
}

/// Where a value is from that nobody in their right mind writes.
fn hint(value: &str) -> &'static str {
    let is_service_link = ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme));
    if is_service_link {
        "; this is a variable that Kubernetes made for a Service: set enableServiceLinks: false in the Pod"
    } else {
        ""
    }
}

/// The settings, in the order of the agent's help.
pub(super) fn known(command: &Command) -> Vec<Known> {
    let agent = command.find_subcommand("agent");
    let arguments = agent.into_iter().flat_map(Command::get_arguments);
    let known = arguments.filter_map(|argument| {
        let (key, variable) = (argument.get_long()?.to_owned(), argument.get_env()?.to_string_lossy().into_owned());
        Some(Known { key, variable, argument: argument.clone() })
    });
    known.collect()
}

/// Where a value is from.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(tag = "from", rename_all = "lowercase")]
pub enum Origin {
    /// The command line.
    Flag,
    /// The environment.
    Environment,
    /// The file.
    File {
        /// Its path, as it was given.
        file: String,
        /// The line of the key.
        line: u64,
    },
    /// Nobody set it.
    Default,
}

/// A setting with its value.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Setting {
    /// The key in the file, which is the long name of the flag.
    pub name: String,
    /// The value; none where there is none.
    pub value: Option<String>,
    /// Where it is from.
    #[serde(flatten)]
    pub from: Origin,
    /// The variable.
    pub variable: String,
    /// What it is unless told otherwise; none when that is nothing.
    pub default: Option<String>,
}

impl Setting {
    /// Whether somebody set it.
    pub fn is_set(&self) -> bool {
        self.from != Origin::Default
    }

    /// Where its value is from, as people look for it.
    pub fn origin(&self) -> String {
        match &self.from {
            Origin::Flag => format!("--{}", self.name),
            Origin::Environment => self.variable.clone(),
            Origin::File { file, line } => format!("{file}:{line}"),
            Origin::Default => "default".to_owned(),
        }
    }

    /// The same with its name, for a message about it.
    pub fn place(&self) -> String {
        match &self.from {
            Origin::Flag | Origin::Environment => self.origin(),
            Origin::File { .. } => format!("{}: {}", self.origin(), self.name),
            Origin::Default => format!("{} (default)", self.name),
        }
    }
}

/// What all settings are, by the arguments of the agent as they were parsed.
pub(super) fn effective(known: &[Known], matches: &ArgMatches, file: &File) -> Vec<Setting> {
    let setting = |known: &Known| {
        let values = matches.get_raw(known.id()).into_iter().flatten();
        let values: Vec<String> = values.map(|value| value.to_string_lossy().into_owned()).collect();
        let from = match matches.value_source(known.id()) {
            Some(ValueSource::CommandLine) => Origin::Flag,
            Some(ValueSource::EnvVariable) => Origin::Environment,
            // There will be more sources; nobody set those values.
            _ => match file.entry(known.id()) {
                Some(entry) => Origin::File { file: file.path.clone(), line: entry.line },
                None => Origin::Default,
            },
        };
        Setting {
            name: known.key.clone(),
            value: (!values.is_empty()).then(|| values.join(",")),
            from,
            variable: known.variable.clone(),
            default: known.default(),
        }
    };
    known.iter().map(setting).collect()
}
