//! A directory of ordinary Kubernetes manifests as a source.
//!
//! What was good stays: a file that is broken now keeps what it held when it was good, and an
//! object that the API server would refuse keeps its last good version, as it would in a cluster.
//! An object that was never good is used as far as it goes, and the snapshot is not complete.

use std::collections::hash_map::{DefaultHasher, Entry};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::hash::{Hash, Hasher};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::document::{Format, Key, Object, parse};
use super::validate::check;
use super::{Origin, Problem, Snapshot, Sourced};

/// Largest file that is read. A larger one counts as broken: it keeps what it held.
pub const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;
/// Most files that are read, in the order of their names. Those beyond it count as broken.
pub const MAX_FILES: usize = 20_000;
/// Most objects that are taken, in the order of files and documents. Those beyond are left out,
/// and the snapshot is not complete.
pub const MAX_OBJECTS: usize = 500_000;

/// The manifests of one directory, and what they held when they were good.
///
/// `*.yaml`, `*.yml` and `*.json` directly in the directory; names that begin with a dot are
/// skipped (a mounted ConfigMap keeps its versions there).
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    files: BTreeMap<String, File>,
    was_read: bool,
}

/// What is known of one file.
#[derive(Debug, Default)]
struct File {
    /// Hash of the content that the rest was made from.
    digest: Option<u64>,
    /// What the file gives to the snapshot.
    objects: Vec<(usize, Object)>,
    /// Last version of each object that was sound.
    good: HashMap<Key, (usize, Object)>,
    /// Whether something in it is broken and was never good.
    incomplete: bool,
    problems: Vec<Problem>,
}

impl Directory {
    /// The manifests in `path`. Nothing is read yet.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), files: BTreeMap::new(), was_read: false }
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads what is there now. Never fails: what cannot be read is a [`Problem`], and what was
    /// known of it stays.
    pub fn read(&mut self) -> (Snapshot, Vec<Problem>) {
        let mut problems = Vec::new();
        match manifests(&self.path) {
            Ok(names) => {
                self.was_read = true;
                self.files.retain(|name, _| names.contains(name));
                for (index, name) in names.into_iter().enumerate() {
                    let content = if index < MAX_FILES {
                        content(&self.path.join(&name))
                    } else {
                        Err(format!("one of more than {MAX_FILES} files; split the directory"))
                    };
                    self.files.entry(name.clone()).or_default().update(&name, content);
                }
            }
            Err(error) => problems.push(Problem::error(format!(
                "directory {}: {error}; what was read from it before stays: make the directory, or give another one with --source",
                self.path.display()
            ))),
        }
        let snapshot = self.snapshot(&mut problems);
        problems.sort();
        (snapshot, problems)
    }

    /// What [`read`](Self::read) would give if this one file had changed to these bytes: for who makes files up.
    #[doc(hidden)]
    pub fn read_as(&mut self, name: &str, bytes: Vec<u8>) -> (Snapshot, Vec<Problem>) {
        self.was_read = true;
        self.files.entry(name.to_owned()).or_default().update(name, text(bytes));
        let mut problems = Vec::new();
        let snapshot = self.snapshot(&mut problems);
        problems.sort();
        (snapshot, problems)
    }

    fn snapshot(&self, problems: &mut Vec<Problem>) -> Snapshot {
        let mut snapshot = Snapshot { complete: self.was_read, ..Snapshot::default() };
        let mut seen: HashMap<Key, Origin> = HashMap::new();
        for (name, file) in &self.files {
            let shared: Arc<str> = Arc::from(name.as_str());
            snapshot.complete &= !file.incomplete;
            problems.extend(file.problems.iter().cloned());
            for (document, object) in &file.objects {
                let origin = Origin { file: Some(Arc::clone(&shared)), document: *document };
                let count = seen.len();
                match seen.entry(object.key()) {
                    Entry::Occupied(first) => problems.push(
                        Problem::error(format!(
                            "the same object twice: {} counts, {origin} does not; remove one",
                            first.get()
                        ))
                        .in_file(Some(name))
                        .about(first.key().to_string()),
                    ),
                    Entry::Vacant(_) if count >= MAX_OBJECTS => {
                        snapshot.complete = false;
                        problems.push(
                            Problem::error(format!("more than {MAX_OBJECTS} objects; those from here on are left out"))
                                .in_file(Some(name)),
                        );
                        return snapshot;
                    }
                    Entry::Vacant(place) => {
                        place.insert(origin.clone());
                        add(&mut snapshot, object, origin);
                    }
                }
            }
        }
        snapshot
    }
}

fn add(snapshot: &mut Snapshot, object: &Object, origin: Origin) {
    match object {
        Object::Service(object) => {
            snapshot.services.push(Sourced { object: Arc::clone(object), origin });
        }
        Object::Slice(object) => snapshot.slices.push(Sourced { object: Arc::clone(object), origin }),
        Object::Node(object) => snapshot.nodes.push(Sourced { object: Arc::clone(object), origin }),
    }
}

impl File {
    fn update(&mut self, name: &str, content: Result<String, String>) {
        match content {
            Ok(text) => {
                let mut hasher = DefaultHasher::new();
                text.hash(&mut hasher);
                let digest = Some(hasher.finish());
                // The same content gives the same result: most files are read and not parsed.
                if self.digest != digest {
                    self.read(name, &text);
                    self.digest = digest;
                }
            }
            Err(message) => {
                self.digest = None;
                self.incomplete |= self.good.is_empty();
                self.problems =
                    vec![Problem::error(format!("{message}; what was read from it before stays")).in_file(Some(name))];
            }
        }
    }

    fn read(&mut self, name: &str, text: &str) {
        let format = if name.ends_with(".json") { Format::Json } else { Format::Yaml };
        let parsed = parse(format, text);
        let mut problems = parsed.problems;
        let mut objects = Vec::with_capacity(parsed.objects.len());
        let mut good = HashMap::new();
        let mut never_good = 0;
        let mut present = BTreeSet::new();
        for (document, object) in parsed.objects {
            let key = object.key();
            let mut checked = check(object);
            problems.append(&mut checked.problems);
            present.insert(key.clone());
            let refused = checked.refused;
            let settled = checked.settle(self.good.get(&key).map(|(_, last)| last));
            never_good += usize::from(refused && !settled.is_good);
            let Some(object) = settled.object else { continue };
            objects.push((document, object.clone()));
            if settled.is_good {
                good.entry(key).or_insert((document, object));
            }
        }
        if parsed.broken > 0 {
            // What is missing now may be in the documents that cannot be read.
            let mut missing: Vec<_> = self.good.iter().filter(|(key, _)| !present.contains(key)).collect();
            missing.sort_by_key(|(_, (document, _))| *document);
            never_good += parsed.broken.saturating_sub(missing.len());
            for (key, last) in missing {
                objects.push(last.clone());
                good.insert(key.clone(), last.clone());
            }
        }
        self.objects = objects;
        self.good = good;
        self.incomplete = never_good > 0;
        self.problems = problems.into_iter().map(|problem| problem.in_file(Some(name))).collect();
    }
}

/// The names of the manifests in a directory.
fn manifests(path: &Path) -> io::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(path)? {
        let Ok(name) = entry?.file_name().into_string() else {
            continue;
        };
        let extension = name.rsplit_once('.').map(|(_, extension)| extension);
        if !name.starts_with('.') && matches!(extension, Some("yaml" | "yml" | "json")) {
            names.insert(name);
        }
    }
    Ok(names)
}

/// A file's text, or why there is none.
fn content(path: &Path) -> Result<String, String> {
    // Opening a FIFO would wait for a writer: ask first, and never read more than the limit.
    let kind = fs::metadata(path).map_err(|error| format!("cannot be read: {error}"))?;
    if !kind.is_file() {
        return Err("is not a regular file".to_owned());
    }
    let mut bytes = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("is larger than {MAX_FILE_BYTES} bytes; split it"));
    }
    text(bytes)
}

fn text(bytes: Vec<u8>) -> Result<String, String> {
    String::from_utf8(bytes).map_err(|error| format!("is not UTF-8 text: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str, port: i32) -> String {
        format!("{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, spec: {{ports: [{{port: {port}}}]}}}}\n")
    }

    /// `name:port` of every Service, and whether the snapshot is complete.
    fn summary(snapshot: &Snapshot) -> (Vec<String>, bool) {
        let services = snapshot.services.iter().map(|service| {
            let ports = service.object.spec.as_ref().and_then(|s| s.ports.clone()).unwrap_or_default();
            let ports: Vec<String> = ports.iter().map(|p| p.port.to_string()).collect();
            format!("{}:{}", service.object.metadata.name.clone().unwrap_or_default(), ports.join(","))
        });
        (services.collect(), snapshot.complete)
    }

    /// What happens; files with their text; the objects after it; complete; number of problems.
    type Step<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [&'a str], bool, usize);

    /// Writes each step's files in turn (empty text removes) and compares what is read.
    fn check_steps(steps: &[Step<'_>]) {
        let home = tempfile::tempdir().expect("a directory");
        let mut directory = Directory::new(home.path());
        for (what, files, expected, complete, problems) in steps {
            for (name, text) in *files {
                let path = home.path().join(name);
                if text.is_empty() {
                    fs::remove_file(path).expect(what);
                } else {
                    fs::write(path, text).expect(what);
                }
            }
            let (snapshot, found) = directory.read();
            let (services, is_complete) = summary(&snapshot);
            assert_eq!(services, *expected, "{what}: {found:?}");
            assert_eq!(is_complete, *complete, "{what}: {found:?}");
            assert_eq!(found.len(), *problems, "{what}: {found:?}");
        }
    }

    #[test]
    fn what_was_good_stays() {
        let (a, b, c) = (service("a", 1), service("b", 2), service("c", 3));
        let both = format!("{a}---\n{b}");
        let second_broken = format!("{a}---\nkind: [\n");
        let new_broken = format!("{both}---\nkind: [\n");
        let bad_port = format!("{a}---\n{}", service("b", 0));
        check_steps(&[
            ("empty", &[], &[], true, 0),
            ("two documents", &[("x.yaml", &both)], &["a:1", "b:2"], true, 0),
            ("one breaks", &[("x.yaml", &second_broken)], &["a:1", "b:2"], true, 1),
            ("still broken", &[("y.yml", &c)], &["a:1", "b:2", "c:3"], true, 1),
            ("mended", &[("x.yaml", &both)], &["a:1", "b:2", "c:3"], true, 0),
            ("an impossible port keeps the old one", &[("x.yaml", &bad_port)], &["a:1", "b:2", "c:3"], true, 1),
            ("removed on purpose", &[("x.yaml", &a)], &["a:1", "c:3"], true, 0),
            ("a broken one never seen good", &[("x.yaml", &new_broken)], &["a:1", "b:2", "c:3"], false, 1),
            ("file removed", &[("x.yaml", "")], &["c:3"], true, 0),
            ("never good: used as far as it goes", &[("z.yaml", &bad_port)], &["c:3", "a:1", "b:"], false, 1),
            ("other files", &[("z.yaml", ""), ("notes.txt", "x"), (".hidden.yaml", "x")], &["c:3"], true, 0),
        ]);
    }

    #[test]
    fn the_same_object_twice_names_both_places() {
        let home = tempfile::tempdir().expect("a directory");
        fs::write(home.path().join("a.yaml"), service("web", 1)).expect("write");
        fs::write(home.path().join("b.yaml"), format!("# x\n---\n{}", service("web", 2))).expect("write");
        let (snapshot, problems) = Directory::new(home.path()).read();
        assert_eq!(summary(&snapshot), (vec!["web:1".to_owned()], true));
        assert_eq!(
            problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [
                "error: b.yaml: Service default/web: the same object twice: a.yaml (document 1) counts, b.yaml (document 1) does not; remove one"
            ]
        );
    }

    #[test]
    fn a_directory_that_goes_away_keeps_its_objects() {
        let home = tempfile::tempdir().expect("a directory");
        let path = home.path().join("manifests");
        let mut directory = Directory::new(&path);
        let (snapshot, problems) = directory.read();
        assert_eq!((summary(&snapshot), problems.len()), ((vec![], false), 1));
        fs::create_dir(&path).expect("mkdir");
        fs::write(path.join("a.yaml"), service("a", 1)).expect("write");
        assert_eq!(summary(&directory.read().0), (vec!["a:1".to_owned()], true));
        fs::remove_dir_all(&path).expect("rmdir");
        let (snapshot, problems) = directory.read();
        assert_eq!((summary(&snapshot), problems.len()), ((vec!["a:1".to_owned()], true), 1));
    }

    #[test]
    fn what_is_no_text_is_reported() {
        let home = tempfile::tempdir().expect("a directory");
        fs::create_dir(home.path().join("dir.yaml")).expect("mkdir");
        fs::write(home.path().join("bytes.yaml"), [0xff, 0xfe]).expect("write");
        let (snapshot, problems) = Directory::new(home.path()).read();
        assert_eq!(summary(&snapshot), (vec![], false));
        assert_eq!(problems.len(), 2, "{problems:?}");
    }
}
