//! Which crates end up in a program: asked of cargo, which knows the features that are built, and of the lock file.
//!
//! `cargo metadata` would mix in the features that tests and other packages of the workspace switch on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context as _, ensure};

use crate::project::Project;
use crate::{cargo, tool};

/// A crate in one version.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) name: String,
    pub(super) version: String,
}

/// What is known of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Crate {
    /// As an SPDX expression; none for the workspace's own.
    pub(super) licence: Option<String>,
    /// The SHA-256 of the archive that the registry gave, in hex; none for the workspace's own.
    pub(super) checksum: Option<String>,
    /// What it calls.
    pub(super) dependencies: BTreeSet<Name>,
    /// Run by the compiler, and so in no program.
    pub(super) is_macro: bool,
}

/// Crates by their names.
pub(super) type Crates = BTreeMap<Name, Crate>;

/// All crates in what a package is compiled to for a target, that package among them: neither macros and build scripts nor
/// what tests need.
///
/// Fails when cargo cannot tell, or the lock file has no checksum of a crate that is not the workspace's own.
pub(super) fn of(project: &Project, package: &str, target: &str) -> anyhow::Result<Crates> {
    let mut tree = cargo::host(project);
    tree.args(["tree", "--locked", "--package", package, "--edges", "normal", "--target", target]);
    tree.args(["--prefix", "depth", "--format", "|{p}|{l}", "--charset", "ascii"]);
    let said = tool::answer(&mut tree).with_context(|| format!("cargo does not answer: {}", tool::line(&tree)))?;
    let (root, all) = read_tree(&said).with_context(|| format!("an unknown form: {}", tool::line(&tree)))?;
    let mut crates = compiled_in(&root, &all);

    let lock = project.root.join("Cargo.lock");
    let lock = fs::read_to_string(&lock).with_context(|| format!("cannot read {}", lock.display()))?;
    let checksums = read_checksums(&lock);
    for (name, data) in &mut crates {
        data.checksum = checksums.get(name).cloned();
        let is_own = data.licence.is_none();
        ensure!(data.checksum.is_some() != is_own, "{} {}: not as Cargo.lock has it", name.name, name.version);
    }
    Ok(crates)
}

/// Reads what `cargo tree` prints: a line for each crate, with its depth, below the one that calls it. Gives the first one's
/// name, and all of them.
fn read_tree(text: &str) -> anyhow::Result<(Name, Crates)> {
    let mut crates = Crates::new();
    // Those that the line before is below, and itself.
    let mut path: Vec<Name> = Vec::new();
    for line in text.lines() {
        let read = read_line(line).with_context(|| format!("cannot read {line:?}"))?;
        let (depth, name, data) = read;
        ensure!(depth <= path.len(), "{line:?} is below nothing");
        path.truncate(depth);
        if let Some(caller) = path.last().and_then(|caller| crates.get_mut(caller)) {
            caller.dependencies.insert(name.clone());
        }
        // Shown again it is without what it calls, or with what it calls by other features.
        crates.entry(name.clone()).or_insert(data);
        path.push(name);
    }
    // The first line has the depth 0, and so has nobody else.
    let root = text.lines().next().and_then(read_line).context("it is empty")?.1;
    Ok((root, crates))
}

/// Reads `DEPTH|NAME vVERSION (PLACE)|LICENCE (*)`.
fn read_line(line: &str) -> Option<(usize, Name, Crate)> {
    let mut parts = line.split('|');
    let depth = parts.next()?.parse().ok()?;
    let mut words = parts.next()?.split_whitespace();
    let name = words.next()?.to_owned();
    let version = words.next()?.strip_prefix('v')?.to_owned();
    let is_macro = words.next() == Some("(proc-macro)");
    let licence = parts.next()?.trim_end_matches("(*)").trim();
    // Crates older than SPDX expressions separate by a stroke.
    let licence = (!licence.is_empty()).then(|| licence.replace(" / ", "/").replace('/', " OR "));
    Some((depth, Name { name, version }, Crate { licence, is_macro, ..Crate::default() }))
}

/// What can be reached without going through a macro.
fn compiled_in(root: &Name, all: &Crates) -> Crates {
    let mut reached = Crates::new();
    let mut next = vec![root.clone()];
    while let Some(name) = next.pop() {
        let Some(data) = all.get(&name).filter(|data| !data.is_macro && !reached.contains_key(&name)) else {
            continue;
        };
        let mut data = data.clone();
        data.dependencies.retain(|name| all.get(name).is_some_and(|data| !data.is_macro));
        next.extend(data.dependencies.iter().cloned());
        reached.insert(name, data);
    }
    reached
}

/// The checksums in a lock file.
fn read_checksums(lock: &str) -> BTreeMap<Name, String> {
    let value = |block: &str, key: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \""));
        line.and_then(|line| line.strip_suffix('"')).map(str::to_owned)
    };
    let read = |block: &str| {
        let name = Name { name: value(block, "name")?, version: value(block, "version")? };
        Some((name, value(block, "checksum")?))
    };
    lock.split("[[package]]").filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::{Crates, Name, compiled_in, of, read_checksums, read_tree};
    use crate::project::Project;
    use crate::{cargo, tool};

    fn names(crates: &Crates) -> Vec<&str> {
        crates.keys().map(|name| name.name.as_str()).collect()
    }

    #[test]
    fn macros_and_what_they_alone_call_are_in_no_program() {
        let tree = "\
0|own v0.1.0 (/clone/own)|
1|derive v2.0.0 (proc-macro)|MIT
2|both v1.0.0|MIT/Apache-2.0
3|deep v1.0.0|MIT
2|syn v3.0.0|MIT
1|caller v1.1.0|BSD-3-Clause
2|both v1.0.0|MIT/Apache-2.0 (*)
2|derive v2.0.0 (proc-macro)|MIT (*)
1|both v0.9.0|ISC
";
        let (root, all) = read_tree(tree).unwrap();
        assert_eq!(root.name, "own");
        let crates = compiled_in(&root, &all);
        assert_eq!(names(&crates), ["both", "both", "caller", "deep", "own"]);
        let both = &crates[&Name { name: "both".to_owned(), version: "1.0.0".to_owned() }];
        assert_eq!(both.licence.as_deref(), Some("MIT OR Apache-2.0"));
        assert_eq!(both.dependencies.len(), 1, "what it calls stands where it came first: {both:?}");
        let own = &crates[&root];
        assert_eq!((own.licence.as_deref(), own.dependencies.len()), (None, 2), "{own:?}");
        for broken in ["", "x|own v0.1.0|", "0|own|", "0|own v0.1.0|\n2|far v1.0.0|MIT"] {
            assert!(read_tree(broken).is_err(), "{broken:?}");
        }
    }

    #[test]
    fn checksums_are_those_of_crates_that_have_one() {
        let lock = "version = 4\n\n[[package]]\nname = \"own\"\nversion = \"0.1.0\"\ndependencies = [\n \"a\",\n]\n\n\
                    [[package]]\nname = \"a\"\nversion = \"1.0.0\"\nsource = \"registry\"\nchecksum = \"abc\"\n";
        let name = Name { name: "a".to_owned(), version: "1.0.0".to_owned() };
        assert_eq!(read_checksums(lock), [(name, "abc".to_owned())].into());
    }

    /// Against what the manifests say, which cargo reads in another way.
    #[test]
    fn what_packages_call_is_listed_and_what_only_tests_need_is_not() {
        let project = Project::find().unwrap();
        let mut metadata = cargo::host(&project);
        metadata.args(["metadata", "--no-deps", "--format-version", "1"]);
        let metadata: Value = serde_json::from_str(&tool::answer(&mut metadata).unwrap()).unwrap();
        let target = cargo::host_triple(&project).unwrap();
        for (package, target) in [("lb-userspace", target.as_str()), ("lb-ebpf", "bpfel-unknown-none")] {
            let crates = of(&project, package, target).unwrap();
            let listed: BTreeSet<&str> = names(&crates).into_iter().collect();
            let packages = metadata["packages"].as_array().unwrap();
            let declared = packages.iter().find(|data| data["name"] == package).unwrap();
            let declared = declared["dependencies"].as_array().unwrap();
            let of_kind = |kind: Value| -> BTreeSet<&str> {
                let kind = declared.iter().filter(|dependency| dependency["kind"] == kind);
                kind.map(|dependency| dependency["name"].as_str().unwrap()).collect()
            };
            let (called, tests) = (of_kind(Value::Null), of_kind("dev".into()));
            assert!(called.len() >= 3 && called.is_subset(&listed), "{package}: {:?}", called.difference(&listed));
            let only_tests: BTreeSet<&str> = tests.difference(&called).copied().collect();
            assert!(only_tests.is_disjoint(&listed), "{package}: {:?}", only_tests.intersection(&listed));
            for compiler in ["syn", "proc-macro2", "serde_derive", "cc", "proptest", "limpet-lab"] {
                assert!(!listed.contains(compiler), "{package}: {compiler}");
            }
            // Far below the first row.
            assert!(listed.contains("zerocopy") && listed.contains("network-types"), "{package}: {listed:?}");
            for (name, data) in &crates {
                let is_known = data.dependencies.iter().all(|name| crates.contains_key(name));
                assert!(is_known, "{package}: {name:?}: {data:?}");
            }
        }
    }
}
