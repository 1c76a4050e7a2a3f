//! The bill of materials that goes with the image: all that is in the program, in CycloneDX's JSON (ECMA-424), so that
//! scanners can tell which known holes it has.
//!
//! The same sources give the same bytes: it has no time and no serial number.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::crates::{self, Crate, Crates, Name};
use crate::project::{BPF_PACKAGE, Project};
use crate::{bpf_object, cargo, tool};

/// The program, and the package that it is compiled from.
const PROGRAM: &str = "limpet";
const PACKAGE: &str = "lb-userspace";
/// The form's version: the newest that most scanners read.
const SPECIFICATION: &str = "1.5";

/// What is in a program that is no crate.
#[derive(Debug)]
struct Library {
    name: &'static str,
    version: String,
    licence: &'static str,
}

/// Writes the bill of a static `limpet` for this machine to these files.
pub(crate) fn write(project: &Project, files: &[&Path]) -> anyhow::Result<()> {
    let mut crates = crates::of(project, PACKAGE, &cargo::host_triple(project)?)?;
    // The programs that it loads into the kernel are in it as well.
    for (name, found) in crates::of(project, BPF_PACKAGE, bpf_object::TARGET)? {
        let known = crates.entry(name).or_insert_with(|| found.clone());
        known.dependencies.extend(found.dependencies);
    }
    let text = format!("{:#}\n", bill(&crates, &linked(project)?));
    files.iter().try_for_each(|file| fs::write(file, &text).with_context(|| format!("cannot write {}", file.display())))
}

/// What the linker adds to a static program.
fn linked(project: &Project) -> anyhow::Result<Vec<Library>> {
    let release = cargo::rustc(project, "release")?;
    let said = tool::answer(tool::command("getconf").arg("GNU_LIBC_VERSION"));
    let libc = said.as_deref().and_then(|said| said.trim().strip_prefix("glibc "));
    let libc = libc.context("`getconf GNU_LIBC_VERSION` does not say which C library is linked")?;
    Ok(vec![
        Library { name: "glibc", version: libc.to_owned(), licence: "LGPL-2.1-or-later" },
        Library { name: "rust-std", version: release, licence: "MIT OR Apache-2.0" },
    ])
}

fn bill(crates: &Crates, linked: &[Library]) -> Value {
    let (own, others): (Vec<_>, Vec<_>) = crates.iter().partition(|(_, data)| data.checksum.is_none());
    let version = env!("CARGO_PKG_VERSION");
    let mut components: Vec<Value> = own.iter().chain(&others).map(|(name, data)| component(name, data)).collect();
    components.extend(linked.iter().map(Library::component));

    // Our own crates call all the others; the program is what is linked of them.
    let mut parts: BTreeSet<String> = own.iter().map(|(name, data)| reference(name, data)).collect();
    parts.extend(linked.iter().map(Library::reference));
    let mut dependencies = vec![json!({"ref": PROGRAM, "dependsOn": parts})];
    dependencies.extend(crates.iter().map(|(name, data)| {
        let called = data.dependencies.iter().filter_map(|name| Some(reference(name, crates.get(name)?)));
        json!({"ref": reference(name, data), "dependsOn": called.collect::<BTreeSet<_>>()})
    }));
    json!({
        "$schema": format!("http://cyclonedx.org/schema/bom-{SPECIFICATION}.schema.json"),
        "bomFormat": "CycloneDX",
        "specVersion": SPECIFICATION,
        "version": 1,
        "metadata": {
            "component": {"type": "application", "bom-ref": PROGRAM, "name": PROGRAM, "version": version},
        },
        "components": components,
        "dependencies": dependencies,
    })
}

fn component(name: &Name, data: &Crate) -> Value {
    let reference = reference(name, data);
    let mut component = json!({"type": "library", "bom-ref": reference, "name": name.name, "version": name.version, "scope": "required"});
    // What is in no registry has no address there: somebody else's crate may have the name.
    if let Some(checksum) = &data.checksum {
        component["purl"] = reference.into();
        component["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
    }
    if let Some(licence) = &data.licence {
        component["licenses"] = json!([{"expression": licence}]);
    }
    component
}

/// What others call it in the bill.
fn reference(Name { name, version }: &Name, data: &Crate) -> String {
    match data.checksum {
        Some(_) => format!("pkg:cargo/{name}@{}", version.replace('+', "%2B")),
        None => format!("{PROGRAM}/{name}"),
    }
}

impl Library {
    fn reference(&self) -> String {
        format!("pkg:generic/{}@{}", self.name, self.version)
    }

    fn component(&self) -> Value {
        let Self { name, version, licence } = self;
        json!({
            "type": "library", "bom-ref": self.reference(), "name": name, "version": version, "scope": "required",
            "purl": self.reference(), "licenses": [{"expression": licence}],
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use serde_json::{Value, json};

    use super::{Crate, Crates, Library, Name, bill, write};
    use crate::project::Project;

    fn name(name: &str, version: &str) -> Name {
        Name { name: name.to_owned(), version: version.to_owned() }
    }

    #[test]
    fn a_crate_has_licence_address_and_checksum_and_our_own_have_none() {
        let other = Crate { licence: Some("MIT".to_owned()), checksum: Some("abc".to_owned()), ..Crate::default() };
        let own = Crate { dependencies: [name("a", "1.0.0+b")].into(), ..Crate::default() };
        let crates: Crates = [(name("a", "1.0.0+b"), other), (name("own", "0.1.0"), own)].into();
        let linked = [Library { name: "libc", version: "2".to_owned(), licence: "X" }];
        let bill = bill(&crates, &linked);
        assert_eq!(
            bill["components"],
            json!([
                {"type": "library", "bom-ref": "limpet/own", "name": "own", "version": "0.1.0", "scope": "required"},
                {"type": "library", "bom-ref": "pkg:cargo/a@1.0.0%2Bb", "name": "a", "version": "1.0.0+b",
                 "scope": "required", "purl": "pkg:cargo/a@1.0.0%2Bb",
                 "hashes": [{"alg": "SHA-256", "content": "abc"}], "licenses": [{"expression": "MIT"}]},
                {"type": "library", "bom-ref": "pkg:generic/libc@2", "name": "libc", "version": "2", "scope": "required",
                 "purl": "pkg:generic/libc@2", "licenses": [{"expression": "X"}]},
            ])
        );
        assert_eq!(
            bill["dependencies"],
            json!([
                {"ref": "limpet", "dependsOn": ["limpet/own", "pkg:generic/libc@2"]},
                {"ref": "pkg:cargo/a@1.0.0%2Bb", "dependsOn": []},
                {"ref": "limpet/own", "dependsOn": ["pkg:cargo/a@1.0.0%2Bb"]},
            ])
        );
    }

    #[test]
    fn the_bill_of_this_workspace_is_whole_and_the_same_each_time() {
        let project = Project::find().unwrap();
        let directory = project.target.join("xtask/bill");
        fs::create_dir_all(&directory).unwrap();
        let [first, second] = ["first", "second"].map(|name| directory.join(name).with_extension("cdx.json"));
        write(&project, &[&first]).unwrap();
        write(&project, &[&second]).unwrap();
        let text = fs::read_to_string(&first).unwrap();
        assert_eq!(text, fs::read_to_string(&second).unwrap());

        let bill: Value = serde_json::from_str(&text).unwrap();
        let components = bill["components"].as_array().unwrap();
        let reference = |of: &Value| of.as_str().unwrap().to_owned();
        let known: BTreeSet<String> =
            components.iter().map(|part| reference(&part["bom-ref"])).chain(["limpet".to_owned()]).collect();
        assert_eq!(known.len(), components.len() + 1, "each has a name of its own");
        let mut called = BTreeSet::from(["limpet".to_owned()]);
        for row in bill["dependencies"].as_array().unwrap() {
            assert!(known.contains(&reference(&row["ref"])), "{row}");
            called.extend(row["dependsOn"].as_array().unwrap().iter().map(reference));
        }
        assert_eq!(called, known, "each is called by something that is listed");
        let names: BTreeSet<&str> = components.iter().map(|part| part["name"].as_str().unwrap()).collect();
        for part in ["aya", "aya-ebpf", "caps", "kube", "lb-common", "lb-ebpf", "lb-userspace", "ring", "rust-std"] {
            assert!(names.contains(part), "{part} is missing: {names:?}");
        }
        for part in components.iter().filter(|part| part["purl"].as_str().is_some_and(|at| at.contains("cargo"))) {
            let checksum = part["hashes"][0]["content"].as_str().unwrap();
            assert!(checksum.len() == 64 && part["licenses"][0]["expression"].is_string(), "{part}");
        }
    }
}
