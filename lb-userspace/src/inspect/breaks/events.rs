//! Rows of single breaks.

use super::super::output::{NOTHING_THERE, Row, age};
use crate::api::Break;

/// Stands for a name that was forgotten.
const UNKNOWN: &str = "unknown";

impl Row for Break {
    fn header(_wide: bool) -> Vec<&'static str> {
        vec!["AGE", "SERVICE", "CLIENT", "REASON", "FROM", "TO", "HELD"]
    }

    fn cells(&self, _wide: bool) -> Vec<String> {
        let or_unknown = |text: Option<String>| text.unwrap_or_else(|| UNKNOWN.to_owned());
        vec![
            age(self.seconds_ago),
            or_unknown(self.service.as_ref().map(ToString::to_string)),
            self.client.clone(),
            self.reason.clone(),
            or_unknown(self.from.clone()),
            or_unknown(self.to.clone()),
            if self.held_seconds == 0 { NOTHING_THERE.to_owned() } else { age(self.held_seconds) },
        ]
    }
}

#[cfg(test)]
pub(super) mod sample {
    //! A hand-made break.

    use super::*;
    use crate::model::{Protocol, ServicePortName};

    pub(in super::super) fn told(client: &str) -> Break {
        let [namespace, name, port] = ["default", "web", "http"].map(str::to_owned);
        Break {
            seconds_ago: 12,
            service: Some(ServicePortName { namespace, name, port, protocol: Protocol::Tcp }),
            client: client.to_owned(),
            reason: "backend-gone".to_owned(),
            from: Some("default/web-1".to_owned()),
            to: Some("default/web-0".to_owned()),
            held_seconds: 340,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::super::output, sample::told, *};
    use crate::cli::OutputOptions;

    #[test]
    fn what_is_not_known_is_no_number() {
        let told = Break { service: None, from: None, held_seconds: 0, ..told("2001:db8::/64") };
        let expected = "\
AGE  SERVICE  CLIENT         REASON        FROM     TO             HELD
12s  unknown  2001:db8::/64  backend-gone  unknown  default/web-0  -
";
        assert_eq!(output::rows(&[told], &OutputOptions::default()).unwrap(), expected);
    }
}
