//! From a file's text to objects: documents, lists, kinds.
//!
//! Every document is parsed on its own, so that a broken one does not take its neighbours along.

use std::fmt;
use std::sync::Arc;

use ::kube::core::TypeMeta;
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::Problem;

/// Most YAML nodes in one document: room for a `kubectl get -o yaml` of a large cluster, an end
/// to aliases that multiply. A document beyond it is refused.
const MAX_YAML_EVENTS: usize = 20_000_000;
/// Most of them for each byte, of which a document without aliases has hardly one; and how many beyond that for aliases: a
/// few lines must not cost as much as the largest document.
const YAML_EVENTS_PER_BYTE: usize = 4;
const YAML_EVENTS_OF_ALIASES: usize = 100_000;

/// An object of one of the kinds that count.
#[derive(Clone, Debug)]
pub(super) enum Object {
    Service(Arc<Service>),
    Slice(Arc<EndpointSlice>),
    Node(Arc<Node>),
}

/// What names an object. Two objects with one key are the same object twice.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    pub(super) kind: &'static str,
    pub(super) namespace: String,
    pub(super) name: String,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{} {}", self.kind, self.name)
        } else {
            write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
        }
    }
}

impl Object {
    pub(super) fn key(&self) -> Key {
        let (kind, meta) = match self {
            Object::Service(service) => ("Service", &service.metadata),
            Object::Slice(slice) => ("EndpointSlice", &slice.metadata),
            Object::Node(node) => ("Node", &node.metadata),
        };
        Key { kind, namespace: meta.namespace.clone().unwrap_or_default(), name: meta.name.clone().unwrap_or_default() }
    }

    /// Objects without a namespace are in "default"; Nodes have none at all.
    fn in_namespace(mut self) -> Self {
        match &mut self {
            Object::Service(service) => default_namespace(&mut Arc::make_mut(service).metadata.namespace),
            Object::Slice(slice) => default_namespace(&mut Arc::make_mut(slice).metadata.namespace),
            Object::Node(node) => Arc::make_mut(node).metadata.namespace = None,
        }
        self
    }
}

fn default_namespace(namespace: &mut Option<String>) {
    if namespace.as_deref().unwrap_or_default().is_empty() {
        *namespace = Some("default".to_owned());
    }
}

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Yaml,
    Json,
}

/// What was found in a file's text.
#[derive(Clone, Debug, Default)]
pub(super) struct Parsed {
    /// Objects that were read, each with the number of its document.
    pub(super) objects: Vec<(usize, Object)>,
    /// Documents, or items of lists, that could not be read.
    pub(super) broken: usize,
    /// What was wrong, without the file's name.
    pub(super) problems: Vec<Problem>,
}

/// Reads all documents of a text.
pub(super) fn parse(format: Format, text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    let documents = match format {
        Format::Yaml => yaml_documents(text),
        Format::Json => json_documents(text),
    };
    for (index, document) in documents.iter().enumerate() {
        parse_document(format, document, index + 1, &mut parsed);
    }
    parsed
}

/// A part of a file.
#[derive(Debug, PartialEq, Eq)]
struct Document<'a> {
    /// Lines of the file before the text's first one.
    lines_before: usize,
    text: &'a str,
}

/// Why a document was refused.
struct Refusal {
    line: Option<usize>,
    message: String,
}

fn parse_document(format: Format, document: &Document<'_>, number: usize, parsed: &mut Parsed) {
    let refuse = |parsed: &mut Parsed, refusal: Refusal| {
        let line = refusal.line.map(|line| format!(", line {}", line + document.lines_before)).unwrap_or_default();
        parsed.broken += 1;
        parsed.problems.push(Problem::error(format!("document {number}{line}: {}", refusal.message)));
    };
    let meta: TypeMeta = match read(format, document.text) {
        Ok(meta) => meta,
        Err(refusal) => return refuse(parsed, refusal),
    };
    if let "List" | "ServiceList" | "EndpointSliceList" | "NodeList" = meta.kind.as_str() {
        return match read::<List>(format, document.text) {
            Ok(list) => parse_items(&meta, list, number, parsed),
            Err(refusal) => refuse(parsed, refusal),
        };
    }
    let object = match Kind::of(&meta) {
        Ok(Kind::Service) => read(format, document.text).map(|o| Object::Service(Arc::new(o))),
        Ok(Kind::Slice) => read(format, document.text).map(|o| Object::Slice(Arc::new(o))),
        Ok(Kind::Node) => read(format, document.text).map(|o| Object::Node(Arc::new(o))),
        Err(message) => {
            parsed.problems.push(Problem::warning(format!("document {number}: {message}")));
            return;
        }
    };
    match object {
        Ok(object) => parsed.objects.push((number, object.in_namespace())),
        Err(refusal) => refuse(parsed, refusal),
    }
}

#[derive(Deserialize)]
struct List {
    #[serde(default)]
    items: Option<Vec<serde_json::Value>>,
}

fn parse_items(list: &TypeMeta, items: List, number: usize, parsed: &mut Parsed) {
    let own_kind = list.kind.strip_suffix("List").unwrap_or_default();
    for (index, item) in items.items.unwrap_or_default().into_iter().enumerate() {
        // Items of a ServiceList carry no kind of their own; those of a List must.
        let text =
            |name: &str, otherwise: &str| item.get(name).and_then(|v| v.as_str()).unwrap_or(otherwise).to_owned();
        let meta = TypeMeta { api_version: text("apiVersion", &list.api_version), kind: text("kind", own_kind) };
        let place = format!("document {number}, items[{index}]");
        let object = match Kind::of(&meta) {
            Ok(Kind::Service) => serde_json::from_value(item).map(|o| Object::Service(Arc::new(o))),
            Ok(Kind::Slice) => serde_json::from_value(item).map(|o| Object::Slice(Arc::new(o))),
            Ok(Kind::Node) => serde_json::from_value(item).map(|o| Object::Node(Arc::new(o))),
            Err(message) => {
                parsed.problems.push(Problem::warning(format!("{place}: {message}")));
                continue;
            }
        };
        match object {
            Ok(object) => parsed.objects.push((number, object.in_namespace())),
            Err(error) => {
                parsed.broken += 1;
                parsed.problems.push(Problem::error(format!("{place}: {error}")));
            }
        }
    }
}

enum Kind {
    Service,
    Slice,
    Node,
}

impl Kind {
    /// The kind, or what to say of one that is not for us.
    fn of(meta: &TypeMeta) -> Result<Self, String> {
        let (kind, version) = match meta.kind.as_str() {
            "Service" => (Self::Service, "v1"),
            "EndpointSlice" => (Self::Slice, "discovery.k8s.io/v1"),
            "Node" => (Self::Node, "v1"),
            other => {
                return Err(format!("kind {other:?} is ignored: Service, EndpointSlice and Node are read"));
            }
        };
        if meta.api_version == version {
            Ok(kind)
        } else {
            Err(format!("{} of apiVersion {:?} is ignored: write apiVersion {version}", meta.kind, meta.api_version))
        }
    }
}

fn read<T: DeserializeOwned>(format: Format, text: &str) -> Result<T, Refusal> {
    match format {
        Format::Yaml => read_yaml(text),
        Format::Json => {
            serde_json::from_str(text).map_err(|error| Refusal { line: Some(error.line()), message: error.to_string() })
        }
    }
}

fn read_yaml<T: DeserializeOwned>(text: &str) -> Result<T, Refusal> {
    let mut options = serde_saphyr::Options::default();
    // A node may be called "n" or "on": only true and false are booleans.
    options.strict_booleans = true;
    if let Some(budget) = &mut options.budget {
        let most = text.len().saturating_mul(YAML_EVENTS_PER_BYTE).saturating_add(YAML_EVENTS_OF_ALIASES);
        budget.max_events = most.min(MAX_YAML_EVENTS);
        budget.max_nodes = budget.max_events;
    }
    serde_saphyr::from_str_with_options(text, options).map_err(|error| Refusal {
        line: error.location().and_then(|at| usize::try_from(at.line()).ok()),
        message: error.without_snippet().to_string(),
    })
}

/// Cuts YAML at its document markers. They cannot occur inside a document: YAML forbids `---` and
/// `...` at the start of a line even in a block scalar.
fn yaml_documents(text: &str) -> Vec<Document<'_>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut documents = Vec::new();
    let (mut start, mut start_line, mut position) = (0, 0, 0);
    for (line_number, line) in text.split_inclusive('\n').enumerate() {
        let marker = ["---", "..."].into_iter().find(|marker| {
            line.strip_prefix(marker).is_some_and(|rest| rest.chars().next().is_none_or(char::is_whitespace))
        });
        if let Some(marker) = marker {
            push_document(&mut documents, start_line, &text[start..position]);
            start = position + marker.len();
            start_line = line_number;
        }
        position += line.len();
    }
    push_document(&mut documents, start_line, &text[start..]);
    documents
}

/// Keeps what holds more than blanks, comments and directives.
fn push_document<'a>(documents: &mut Vec<Document<'a>>, lines_before: usize, text: &'a str) {
    let says_something = text.lines().any(|line| {
        let line = line.trim_start();
        !(line.is_empty() || line.starts_with('#') || line.starts_with('%'))
    });
    if says_something {
        documents.push(Document { lines_before, text });
    }
}

/// Cuts JSON values that follow each other. What does not parse ends the cutting and is one
/// document, which then says why.
fn json_documents(text: &str) -> Vec<Document<'_>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut documents = Vec::new();
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
    let mut start = 0;
    while let Some(value) = values.next() {
        let end = if value.is_ok() { values.byte_offset() } else { text.len() };
        let lines_before = text[..start].matches('\n').count();
        documents.push(Document { lines_before, text: &text[start..end] });
        if value.is_err() {
            break;
        }
        start = end;
    }
    documents
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(format: Format, text: &str) -> (Vec<String>, usize, Vec<String>) {
        let parsed = parse(format, text);
        (
            parsed.objects.iter().map(|(n, object)| format!("{n}: {}", object.key())).collect(),
            parsed.broken,
            parsed.problems.iter().map(ToString::to_string).collect(),
        )
    }

    fn check(what: &str, format: Format, text: &str, objects: &[&str], broken: usize, problems: &[&str]) {
        let found = summary(format, text);
        assert_eq!(found.0, objects, "{what}");
        assert_eq!(found.1, broken, "{what}: {:?}", found.2);
        assert_eq!(found.2.len(), problems.len(), "{what}: {:?}", found.2);
        for (problem, part) in found.2.iter().zip(problems) {
            assert!(problem.contains(part), "{what}: {problem} should contain {part}");
        }
    }

    const WEB: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\n";

    #[test]
    fn documents_lists_and_kinds() {
        use Format::{Json, Yaml};
        check("one", Yaml, WEB, &["1: Service default/web"], 0, &[]);
        check("nothing", Yaml, "# only a comment\n---\n\n", &[], 0, &[]);
        check(
            "a broken document between two good ones",
            Yaml,
            &format!("{WEB}---\nkind: [\n---\n{}", WEB.replace("web", "api")),
            &["1: Service default/web", "3: Service default/api"],
            1,
            &["document 2, line "],
        );
        check(
            "a value of the wrong type, with the line in the file",
            Yaml,
            "# head\n---\napiVersion: v1\nkind: Service\nmetadata:\n  name: web\nspec:\n  ports:\n  - port: http\n",
            &[],
            1,
            &["document 1, line 9"],
        );
        check(
            "other kinds and other versions",
            Yaml,
            "apiVersion: v1\nkind: Pod\n---\napiVersion: discovery.k8s.io/v1beta1\nkind: EndpointSlice\n",
            &[],
            0,
            &["kind \"Pod\" is ignored", "write apiVersion discovery.k8s.io/v1"],
        );
        check("no kind", Yaml, "apiVersion: v1\n", &[], 1, &["kind"]);
        check("not a mapping", Yaml, "hello\n", &[], 1, &["document 1"]);
        check(
            "a list with a broken item",
            Yaml,
            "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Service, metadata: {name: a}}\n- {apiVersion: v1, kind: Service, metadata: 7}\n- {apiVersion: v1, kind: Node, metadata: {name: n}}\n",
            &["1: Service default/a", "1: Node n"],
            1,
            &["items[1]"],
        );
        check(
            "a typed list",
            Yaml,
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSliceList\nitems:\n- {metadata: {name: a, namespace: x}, addressType: IPv4, endpoints: []}\n",
            &["1: EndpointSlice x/a"],
            0,
            &[],
        );
        let json = r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"web"}}"#;
        check("json", Json, json, &["1: Service default/web"], 0, &[]);
        check(
            "json values in a row, the last one cut short",
            Json,
            &format!("{json}\n{json}\n{{"),
            &["1: Service default/web", "2: Service default/web"],
            1,
            &["document 3"],
        );
    }

    #[test]
    fn aliases_cannot_multiply_without_end() {
        // Each alias stands for nine of the one before.
        let document = |levels: usize| {
            let mut text = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned();
            for i in 1..levels {
                text.push_str(&format!("a{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 9].join(",")));
            }
            text + "apiVersion: v1\nkind: Service\n"
        };
        for (levels, broken) in [(1, 0), (4, 0), (6, 1), (12, 1)] {
            assert_eq!(parse(Format::Yaml, &document(levels)).broken, broken, "{levels} levels");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_survived(text in "[-a-z:\\[\\]{}|>\n .#&*!%\"']{0,200}") {
            let _ = parse(Format::Yaml, &text);
            let _ = parse(Format::Json, &text);
        }
    }
}
