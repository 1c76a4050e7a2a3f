//! Variables of the environment that begin with `LIMPET_`: which of them nobody knows, and which has the wrong value.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue};

use super::{
    file::nearest,
    refused::{Problem, Refused},
    setting::Known,
};

/// What all of ours begin with.
const PREFIX: &str = "LIMPET_";
/// Names the file of settings.
const FILE: &str = "LIMPET_CONFIG";
/// Variables of our builds and tests, which programs that they start inherit.
const OF_BUILDS: [&str; 4] = ["LIMPET_BENCH_BPF_OBJECT", "LIMPET_BIN", "LIMPET_BPF_OBJECT", "LIMPET_LAB_BIN"];
/// What those of our tests alone begin with.
const OF_TESTS: &str = "LIMPET_TEST_";

/// The variables that no flag has, and Kubernetes did not make.
pub(super) fn unknown(known: &[Known], variables: &[(OsString, OsString)]) -> Vec<Problem> {
    let names = || known.iter().map(|known| known.variable.as_str()).chain([FILE]);
    let texts = variables.iter().map(|(name, value)| (name.to_string_lossy(), value.to_string_lossy()));
    let is_unknown = |name: &str, value: &str| {
        name.starts_with(PREFIX)
            && !names().any(|known| known == name)
            && !OF_BUILDS.contains(&name)
            && !name.starts_with(OF_TESTS)
            && !is_fail_point(name)
            && !is_service_link(name, value)
    };
    let mut problems: Vec<Problem> = texts
        .filter(|(name, value)| is_unknown(name, value))
        .map(|(name, _)| {
            let hint = match nearest(&name, names()) {
                Some(nearest) => format!("did you mean {nearest}?"),
                None => "`limpet agent --help` shows those that there are".to_owned(),
            };
            Problem { place: name.into_owned(), message: format!("there is no such variable; {hint}") }
        })
        .collect();
    problems.extend(wrong_fail_point(variables));
    problems.sort_by(|one, other| one.place.cmp(&other.place));
    problems
}

/// Whether it is the variable by which tests have the agent die: see [`crate::fail_point`].
#[cfg(debug_assertions)]
fn is_fail_point(name: &str) -> bool {
    name == crate::fail_point::VARIABLE
}

/// A release build knows no such variable.
#[cfg(not(debug_assertions))]
fn is_fail_point(_name: &str) -> bool {
    false
}

/// What is wrong with its value.
#[cfg(debug_assertions)]
fn wrong_fail_point(variables: &[(OsString, OsString)]) -> Option<Problem> {
    let (name, value) = variables.iter().find(|(name, _)| name.to_str().is_some_and(is_fail_point))?;
    let message = crate::fail_point::FailPoint::parse(&value.to_string_lossy()).err()?;
    Some(Problem { place: name.to_string_lossy().into_owned(), message })
}

#[cfg(not(debug_assertions))]
fn wrong_fail_point(_variables: &[(OsString, OsString)]) -> Option<Problem> {
    None
}

/// Whether Kubernetes made the variable for a Service that is called `limpet` or `limpet-...`: in every Pod of its
/// namespace, unless `enableServiceLinks` is false.
fn is_service_link(name: &str, value: &str) -> bool {
    let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    let is_url = value.contains("://");
    let is_of_port = || {
        // ..._PORT_80_TCP, and the same with _PROTO, _PORT and _ADDR.
        let base = ["_PROTO", "_PORT", "_ADDR"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        let base = ["_TCP", "_UDP", "_SCTP"].iter().find_map(|end| base.strip_suffix(end));
        base.and_then(|base| base.rsplit_once("_PORT_")).is_some_and(|(_, port)| port.parse::<u16>().is_ok())
    };
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT") && is_number
        || name.contains("_SERVICE_PORT_") && is_number
        || name.ends_with("_PORT") && is_url
        || is_of_port()
}

/// Says of a value that clap refuses that it is that of a variable, if it is: clap names the flag in any case.
pub(super) fn name_variable(
    error: clap::Error,
    known: &[Known],
    arguments: &[OsString],
    variables: &[(OsString, OsString)],
) -> Refused {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let (Some(flag), Some(value)) = (context(ContextKind::InvalidArg), context(ContextKind::InvalidValue)) else {
        return error.into();
    };
    let flag = flag.split([' ', '=', '[']).next().unwrap_or(flag);
    let is_on_line =
        arguments.iter().any(|argument| argument.to_str().is_some_and(|text| text.split('=').next() == Some(flag)));
    let Some(known) = known.iter().find(|known| flag.strip_prefix("--") == Some(&known.key)) else {
        return error.into();
    };
    if is_on_line || !variables.iter().any(|(name, _)| name.to_str() == Some(&known.variable)) {
        return error.into();
    }
    Refused::one(&known.variable, known.refusal(value, &error))
}
