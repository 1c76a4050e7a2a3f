//! Which Services are meant: by namespace, and by name.

use std::{net::IpAddr, str::FromStr};

use clap::{Args, CommandFactory, builder::NonEmptyStringValueParser, error::ErrorKind};

use super::Cli;

/// The namespace that is meant when none is named.
pub const DEFAULT_NAMESPACE: &str = "default";

/// Namespaces that are meant.
#[derive(Clone, Debug, Default, Args)]
pub struct Scope {
    /// Only this namespace [default: default]
    #[arg(short, long, global = true, value_name = "NAMESPACE", value_parser = NonEmptyStringValueParser::new())]
    pub namespace: Option<String>,
    /// All namespaces
    #[arg(short = 'A', long, global = true, conflicts_with = "namespace")]
    pub all_namespaces: bool,
}

impl Scope {
    /// The one namespace that is meant; none for all.
    pub fn namespace(&self) -> Option<&str> {
        (!self.all_namespaces).then(|| self.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE))
    }

    /// Whether this namespace is meant.
    pub fn covers(&self, namespace: &str) -> bool {
        self.namespace().is_none_or(|only| only == namespace)
    }

    /// The same, narrowed to the namespace that `reference` names.
    ///
    /// # Errors
    /// Wrong usage, when `-n` names another.
    pub fn narrowed_to(&self, reference: &ServiceReference) -> Result<Self, clap::Error> {
        let Some(named) = &reference.namespace else {
            return Ok(self.clone());
        };
        match &self.namespace {
            Some(flag) if flag != named => Err(Cli::command().error(
                ErrorKind::ArgumentConflict,
                format!("the Service is named in namespace {named:?}, but -n says {flag:?}"),
            )),
            _ => Ok(Self { namespace: Some(named.clone()), all_namespaces: false }),
        }
    }
}

/// A Service, as it is named on the command line: NAME or NAMESPACE/NAME.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServiceReference {
    /// The namespace, when it is named.
    pub namespace: Option<String>,
    /// The name.
    pub name: String,
}

impl FromStr for ServiceReference {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (namespace, name) = match text.split_once('/') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, text),
        };
        if name.is_empty() || name.contains('/') || namespace == Some("") {
            return Err("a Service is named as NAME or as NAMESPACE/NAME".to_owned());
        }
        // No Service has such a name: there are neither dots nor colons in them.
        if name.parse::<IpAddr>().is_ok() {
            return Err("a Service is named as NAME or as NAMESPACE/NAME, not by an address".to_owned());
        }
        Ok(Self { namespace: namespace.map(str::to_owned), name: name.to_owned() })
    }
}
