//! What is wrong with the input, for a person to act on: one value, one line.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Most problems of one kind that are told of one object: it may have 100,000 endpoints, all of them wrong.
pub const MAX_PROBLEMS_PER_OBJECT: usize = 20;
/// Longest name of an object in a [`Problem`]: kind, namespace (63) and name (253).
const MAX_OBJECT: usize = 340;
/// Longest field.
const MAX_FIELD: usize = 200;
/// Longest message.
const MAX_MESSAGE: usize = 1_000;
/// Longest value in a message.
const MAX_VALUE: usize = 80;

/// How bad a [`Problem`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Something that was asked for is not done.
    Error,
    /// Everything that can be done is done, but somebody may have meant more.
    Warning,
}

/// Something that a person should know or mend: where it is, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// The file, where there is one.
    pub file: Option<String>,
    /// The object, as `Service default/web`.
    pub object: Option<String>,
    /// The field, as `spec.ports[0].port`.
    pub field: Option<String>,
    /// What is wrong and what happens because of it.
    pub message: String,
}

impl Problem {
    /// An error with nothing but a message.
    #[must_use]
    pub fn error(message: impl Into<String>) -> Self {
        Self::new(Severity::Error, message)
    }

    /// A warning with nothing but a message.
    #[must_use]
    pub fn warning(message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, message)
    }

    /// A problem with nothing but a message.
    #[must_use]
    pub fn new(severity: Severity, message: impl Into<String>) -> Self {
        Self {
            severity,
            file: None,
            object: None,
            field: None,
            message: plain(message.into(), MAX_MESSAGE, is_command),
        }
    }

    /// The same, in this file.
    #[must_use]
    pub fn in_file(self, file: Option<&str>) -> Self {
        Self { file: file.map(str::to_owned), ..self }
    }

    /// The same, about this object.
    #[must_use]
    pub fn about(self, object: impl Into<String>) -> Self {
        Self { object: Some(plain(object.into(), MAX_OBJECT, char::is_control)), ..self }
    }

    /// The same, in this field.
    #[must_use]
    pub fn at(self, field: impl Into<String>) -> Self {
        Self { field: Some(plain(field.into(), MAX_FIELD, char::is_control)), ..self }
    }
}

impl Problem {
    /// Where it is and what: one line, without the severity.
    #[must_use]
    pub fn line(&self) -> String {
        let place = [&self.file, &self.object, &self.field].into_iter().flatten();
        // One line, whatever a parser put into its message.
        let message = self.message.split_whitespace().collect::<Vec<_>>().join(" ");
        place.map(|part| format!("{part}: ")).chain([message]).collect()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{severity}: {}", self.line())
    }
}

/// Sorted; of each object the first few of each severity, and how many more there are.
#[must_use]
pub fn limited(problems: BTreeSet<Problem>) -> Vec<Problem> {
    let mut kept: Vec<Problem> = Vec::with_capacity(problems.len());
    let (mut same, mut left_out) = (0, 0);
    for problem in problems {
        let of_one = |other: &Problem| {
            problem.object.is_some()
                && (&problem.severity, &problem.file, &problem.object) == (&other.severity, &other.file, &other.object)
        };
        if kept.last().is_some_and(of_one) {
            same += 1;
        } else {
            tell_of_more(&mut kept, left_out);
            (same, left_out) = (1, 0);
        }
        if same <= MAX_PROBLEMS_PER_OBJECT {
            kept.push(problem);
        } else {
            left_out += 1;
        }
    }
    tell_of_more(&mut kept, left_out);
    kept
}

fn tell_of_more(kept: &mut Vec<Problem>, left_out: usize) {
    if left_out > 0
        && let Some(last) = kept.last()
    {
        let message = format!("and {left_out} more like these");
        kept.push(Problem { field: None, message, ..last.clone() });
    }
}

/// A value for a message: in quotes, on one line, and not longer than a person would read.
#[must_use]
pub fn quoted(value: &str) -> String {
    match value.char_indices().nth(MAX_VALUE) {
        None => format!("{value:?}"),
        Some((end, _)) => format!("{:?}... ({} bytes)", value.get(..end).unwrap_or_default(), value.len()),
    }
}

/// The text without what a terminal would take for a command, and cut to so many characters.
fn plain(mut text: String, most: usize, is_command: impl Fn(char) -> bool) -> String {
    if let Some((end, _)) = text.char_indices().nth(most) {
        text.truncate(end);
        text.push_str("...");
    }
    match text.contains(&is_command) {
        true => text.replace(is_command, "\u{fffd}"),
        false => text,
    }
}

/// Control characters but white space, which [`Problem::line`] deals with.
fn is_command(character: char) -> bool {
    character.is_control() && !character.is_whitespace()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_one_line_with_file_object_and_field() {
        let problem = Problem::error("port 0 is not\n  possible")
            .in_file(Some("web.yaml"))
            .about("Service default/web")
            .at("spec.ports[0].port");
        assert_eq!(
            problem.to_string(),
            "error: web.yaml: Service default/web: spec.ports[0].port: port 0 is not possible"
        );
        assert_eq!(Problem::warning("w").to_string(), "warning: w");
    }

    #[test]
    fn is_never_long_and_no_command() {
        let long = "x\u{1b}[2J\n".repeat(10_000);
        let line = Problem::error(&*long).about(&*long).at(&*long).to_string();
        assert!(line.chars().count() < MAX_OBJECT + MAX_FIELD + MAX_MESSAGE + 50, "{} characters", line.len());
        assert!(!line.contains(char::is_control), "{line:?}");
        assert_eq!(quoted("a\"\n"), r#""a\"\n""#);
        assert_eq!(quoted(&"🦪".repeat(81)), format!("\"{}\"... (324 bytes)", "🦪".repeat(80)));
    }

    #[test]
    fn of_one_object_the_first_few_are_told() {
        let of = |object: &str, count: usize| -> Vec<Problem> {
            (0..count).map(|i| Problem::error("wrong").about(object).at(format!("field[{i:03}]"))).collect()
        };
        let lone = || Problem::error("something else");
        let all = [of("a", 25), of("b", MAX_PROBLEMS_PER_OBJECT), of("c", 21), vec![lone()]].concat();
        let told = limited(all.into_iter().collect());
        let more = |object: &str, count: usize| Problem::error(format!("and {count} more like these")).about(object);
        let expected = [vec![lone()], of("a", 20), vec![more("a", 5)], of("b", 20), of("c", 20), vec![more("c", 1)]];
        assert_eq!(told, expected.concat());
    }
}
