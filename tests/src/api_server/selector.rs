//! Label and field selectors: which objects a list or a watch is about.

use serde_json::Value;

use super::query::Query;
use super::refusal::Refusal;

/// What an object must be to be told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<Requirement>,
}

/// What one label or field must be.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    Exists(String),
    Missing(String),
    In(String, Vec<String>),
    /// Also where it is missing.
    NotIn(String, Vec<String>),
}

impl Selector {
    /// Reads `labelSelector` and `fieldSelector`. Fields may be any strings of the object, by path; a real server knows a
    /// few for each kind and refuses the others.
    pub(super) fn parse(query: &Query) -> Result<Self, Refusal> {
        let labels = query.get("labelSelector").map(parse_labels).transpose()?.unwrap_or_default();
        let fields = query.get("fieldSelector").map(parse_fields).transpose()?.unwrap_or_default();
        Ok(Self { labels, fields })
    }

    /// Whether everything matches.
    pub(super) fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// Whether the object is one of those that are asked for.
    pub(super) fn matches(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        self.labels.iter().all(|label| label.holds(|name| labels[name].as_str()))
            // A field that is not there is an empty one.
            && self.fields.iter().all(|field| field.holds(|path| Some(field_of(object, path))))
    }
}

impl Requirement {
    fn holds<'a>(&self, value: impl Fn(&str) -> Option<&'a str>) -> bool {
        match self {
            Self::Exists(name) => value(name).is_some(),
            Self::Missing(name) => value(name).is_none(),
            Self::In(name, values) => value(name).is_some_and(|value| values.iter().any(|other| other == value)),
            Self::NotIn(name, values) => value(name).is_none_or(|value| values.iter().all(|other| other != value)),
        }
    }
}

fn field_of<'a>(object: &'a Value, path: &str) -> &'a str {
    path.split('.').fold(object, |value, part| &value[part]).as_str().unwrap_or_default()
}

fn parse_labels(text: &str) -> Result<Vec<Requirement>, Refusal> {
    split_outside_brackets(text).into_iter().map(|part| parse_label(part.trim())).collect()
}

fn parse_label(text: &str) -> Result<Requirement, Refusal> {
    if let Some(name) = text.strip_prefix('!') {
        return Ok(Requirement::Missing(word(name, text)?));
    }
    if let Some(equality) = parse_equality(text)? {
        return Ok(equality);
    }
    for (operator, is_in) in [(" notin ", false), (" in ", true)] {
        if let Some((name, set)) = text.split_once(operator) {
            let set = set.trim().strip_prefix('(').and_then(|set| set.strip_suffix(')'));
            let set = set.ok_or_else(|| refused(text))?.split(',').map(|value| value.trim().to_owned()).collect();
            let name = word(name, text)?;
            return Ok(if is_in { Requirement::In(name, set) } else { Requirement::NotIn(name, set) });
        }
    }
    Ok(Requirement::Exists(word(text, text)?))
}

fn parse_fields(text: &str) -> Result<Vec<Requirement>, Refusal> {
    text.split(',').map(|part| parse_equality(part)?.ok_or_else(|| refused(part))).collect()
}

/// `name=value`, `name==value` or `name!=value`; none when it is something else.
fn parse_equality(text: &str) -> Result<Option<Requirement>, Refusal> {
    let Some((name, value)) = text.split_once('=') else { return Ok(None) };
    let value = vec![value.strip_prefix('=').unwrap_or(value).trim().to_owned()];
    Ok(Some(match name.strip_suffix('!') {
        Some(name) => Requirement::NotIn(word(name, text)?, value),
        None => Requirement::In(word(name, text)?, value),
    }))
}

fn word(name: &str, within: &str) -> Result<String, Refusal> {
    let name = name.trim();
    let is_word = !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || "!=()<>,".contains(c));
    is_word.then(|| name.to_owned()).ok_or_else(|| refused(within))
}

fn refused(text: &str) -> Refusal {
    Refusal::bad_request(format!("unable to parse requirement: {text:?}"))
}

fn split_outside_brackets(text: &str) -> Vec<&str> {
    let mut depth = 0_u32;
    text.split(|c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(labels: &str, fields: &str) -> Result<Selector, Refusal> {
        Selector::parse(&Query::parse(&format!("labelSelector={labels}&fieldSelector={fields}")))
    }

    #[test]
    fn labels_and_fields_are_compared() {
        let object = json!({
            "metadata": {"name": "web", "labels": {"app": "web", "tier": ""}},
            "spec": {"clusterIP": "None", "ports": [1]},
        });
        let check = |labels, fields, expected| {
            assert_eq!(parse(labels, fields).unwrap().matches(&object), expected, "{labels:?} {fields:?}");
        };
        check("", "", true);
        check("app", "", true);
        check("tier", "", true);
        check("!app", "", false);
        check("!other,app=web", "", true);
        check("app==web", "", true);
        check("app!=web", "", false);
        check("other!=web", "", true);
        check("app in (db, web),!other", "", true);
        check("app notin (db,web)", "", false);
        check("other notin (db)", "", true);
        check("", "spec.clusterIP!=None", false);
        check("", "spec.clusterIP=None", true);
        check("", "metadata.name=web,spec.clusterIP!=10.0.0.1", true);
        check("", "spec.type!=ExternalName", true);
        check("", "spec.type=", true);
        check("", "spec.ports!=1", true);
    }

    #[test]
    fn an_object_of_any_shape_can_be_asked() {
        let selector = parse("!service.kubernetes.io/headless", "spec.clusterIP!=None").unwrap();
        for object in [json!(7), json!(null), json!([]), json!({"metadata": "x", "spec": []})] {
            assert!(selector.matches(&object), "{object}");
        }
    }

    #[test]
    fn what_is_no_selector_is_refused() {
        for labels in ["!", "=x", "a b", "a in x", "a,,b"] {
            assert!(parse(labels, "").is_err(), "{labels:?}");
        }
        assert!(parse("", "spec.clusterIP").is_err());
    }
}
