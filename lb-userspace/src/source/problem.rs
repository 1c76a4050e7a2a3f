//! What is wrong with the input, for a person to act on: one value, one line.

use std::fmt;

use serde::{Deserialize, Serialize};

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
        Self { severity, file: None, object: None, field: None, message: message.into() }
    }

    /// The same, in this file.
    #[must_use]
    pub fn in_file(self, file: Option<&str>) -> Self {
        Self { file: file.map(str::to_owned), ..self }
    }

    /// The same, about this object.
    #[must_use]
    pub fn about(self, object: impl Into<String>) -> Self {
        Self { object: Some(object.into()), ..self }
    }

    /// The same, in this field.
    #[must_use]
    pub fn at(self, field: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..self }
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
}
