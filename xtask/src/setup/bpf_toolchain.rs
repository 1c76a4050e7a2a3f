//! The compiler for BPF programs, and which compiler and linker fit together.
//!
//! The target has no ready-made `core`, so it is built from source: that takes a compiler with that source, and
//! unstable features. A rustup nightly with rust-src has both; Debian's own Rust for web browsers has the source,
//! and unstable features on request.

use std::path::{Path, PathBuf};
use std::{env, fs};

use super::{Facts, Fix, Linker, Purpose, Requirement, State, apt, linker};
use crate::project::Project;
use crate::tool;
use crate::version::Version;

/// Debian's packages: compiler, cargo, source of `core`, clippy.
const DEBIAN_PACKAGES: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "rust-web-clippy"];
/// Where Debian's packages put them.
const DEBIAN_SYSROOT: &str = "/usr";
/// What `doctor` calls them.
const DEBIAN_NAME: &str = "Debian's rustc-web";

pub(super) const REQUIREMENT: Requirement =
    Requirement { what: "BPF compiler", purpose: Purpose::Build, check, install };

/// A Rust compiler that comes with the source of `core`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Compiler {
    /// What to call it.
    pub(crate) name: String,
    /// The directory with its cargo, rustc and clippy.
    pub(crate) bin: PathBuf,
    /// Whether it must be told to allow unstable features.
    pub(crate) bootstrap: bool,
    /// Its version.
    pub(crate) release: Version,
    /// The major version of its LLVM; a linker must have that one or a newer one.
    pub(crate) llvm: u32,
}

/// A compiler and a linker that understands what it emits.
#[derive(Clone, Debug)]
pub(crate) struct Toolchain {
    /// Compiles.
    pub(crate) compiler: Compiler,
    /// Links.
    pub(crate) linker: Linker,
}

/// The best of what there is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Choice<'a> {
    pub(super) compiler: Option<&'a Compiler>,
    pub(super) linker: Option<&'a Linker>,
}

/// Chooses a compiler, and a linker that fits it.
///
/// The first pair that fits, compilers counting before linkers. Without such a pair, a compiler that we could
/// build a linker for; where we can build none, the first compiler, since somebody must find a linker for it.
pub(super) fn choose(facts: &Facts) -> Choice<'_> {
    let compilers = || facts.compilers.iter().filter(|compiler| compiler.release >= oldest());
    let fits = |compiler: &Compiler| {
        let least = compiler.llvm.max(linker::LLVM);
        facts.linkers.iter().find(|linker| linker.llvm.is_some_and(|llvm| llvm >= least))
    };
    if let Some((compiler, linker)) = compilers().find_map(|compiler| Some((compiler, fits(compiler)?))) {
        return Choice { compiler: Some(compiler), linker: Some(linker) };
    }
    let compiler = compilers().find(|compiler| !facts.apt || compiler.llvm <= linker::LLVM);
    Choice { compiler, linker: None }
}

/// Every compiler on this machine that has the source of `core`: nightlies of rustup, newest first, then Debian's.
pub(super) fn gather() -> Vec<Compiler> {
    let mut compilers: Vec<Compiler> =
        nightlies().into_iter().filter_map(|(name, sysroot)| compiler(&name, &sysroot, false)).collect();
    compilers.sort_by(|a, b| b.release.cmp(&a.release).then_with(|| a.name.cmp(&b.name)));
    compilers.extend(compiler(DEBIAN_NAME, Path::new(DEBIAN_SYSROOT), true));
    compilers
}

fn check(facts: &Facts) -> State {
    match choose(facts).compiler {
        Some(Compiler { name, release, llvm, .. }) => State::Found(format!("{name} (rustc {release}, LLVM {llvm})")),
        None => State::Missing {
            needed: format!("rustc {} or newer, unstable features, source of core", oldest()),
            fix: Fix::with_apt(facts, "rustup toolchain install nightly --component rust-src"),
        },
    }
}

fn install(_facts: &Facts, project: &Project) -> anyhow::Result<String> {
    if apt::not_installed(&DEBIAN_PACKAGES).is_empty() {
        // They are there and did not count: older than what we need. Debian's security updates have newer ones.
        return apt::upgrade(project, &DEBIAN_PACKAGES);
    }
    apt::install(project, &DEBIAN_PACKAGES)
}

/// The oldest compiler that the workspace builds with.
fn oldest() -> Version {
    const { Version::new(1, 95) }
}

/// rustup's nightly toolchains, by looking: rustup itself might start to download something.
fn nightlies() -> Vec<(String, PathBuf)> {
    let home =
        env::var_os("RUSTUP_HOME").map(PathBuf::from).or_else(|| env::home_dir().map(|home| home.join(".rustup")));
    let Some(toolchains) = home.and_then(|home| fs::read_dir(home.join("toolchains")).ok()) else {
        return Vec::new();
    };
    toolchains
        .flatten()
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
        .filter(|(name, _)| name.starts_with("nightly"))
        .collect()
}

/// The compiler in a sysroot; `None` when it lacks the source of `core`, or does not run.
fn compiler(name: &str, sysroot: &Path, bootstrap: bool) -> Option<Compiler> {
    let bin = sysroot.join("bin");
    let core = sysroot.join("lib/rustlib/src/rust/library/core/Cargo.toml");
    if !core.is_file() || !bin.join("cargo").is_file() {
        return None;
    }
    // `cargo run` puts its own toolchain's libraries first for us: not for this one.
    let mut rustc = tool::command(bin.join("rustc"));
    let answer = tool::answer(rustc.arg("-vV").env_remove("LD_LIBRARY_PATH"))?;
    let (release, llvm) = versions(&answer)?;
    Some(Compiler { name: name.to_owned(), bin, bootstrap, release, llvm: llvm.major })
}

/// Reads `rustc -vV`: its release and its LLVM's version.
fn versions(answer: &str) -> Option<(Version, Version)> {
    let field = |name: &str| answer.lines().find_map(|line| line.strip_prefix(name));
    Some((Version::parse(field("release: ")?)?, Version::parse(field("LLVM version: ")?)?))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{Choice, Compiler, Facts, Fix, Linker, State, Version, check, choose, oldest, versions};

    fn compiler(name: &str, release: (u32, u32), llvm: u32) -> Compiler {
        Compiler {
            name: name.to_owned(),
            bin: PathBuf::from("/bin"),
            bootstrap: false,
            release: Version::new(release.0, release.1),
            llvm,
        }
    }

    fn linker(llvm: Option<u32>) -> Linker {
        Linker { path: PathBuf::from("/bin/bpf-linker"), version: "0.13.0".to_owned(), llvm }
    }

    #[test]
    fn the_oldest_compiler_is_the_workspaces() {
        assert_eq!(Version::parse(concat!(env!("CARGO_PKG_RUST_VERSION"), ".0")), Some(oldest()));
    }

    #[test]
    fn reads_what_rustc_says_of_itself() {
        let answer = "rustc 1.97.0-nightly (e50aa6fba 2026-05-19)\nbinary: rustc\n\
                      host: x86_64-unknown-linux-gnu\nrelease: 1.97.0-nightly\nLLVM version: 22.1.4\n";
        assert_eq!(versions(answer), Some((Version::new(1, 97), Version::new(22, 1))));
        assert_eq!(versions("rustc 1.97.0\n"), None);
    }

    #[test]
    fn the_first_pair_that_fits_is_chosen() {
        let nightly = compiler("nightly", (1, 97), 22);
        let next = compiler("nightly", (1, 99), 23);
        let old = compiler("nightly-2025-01-01", (1, 86), 19);
        let debian = compiler("Debian", (1, 96), 22);
        let (new, newer, unknown) = (linker(Some(22)), linker(Some(23)), linker(None));
        let older = linker(Some(20));
        type Case<'a> = (&'a str, Vec<&'a Compiler>, Vec<&'a Linker>, bool, Option<&'a Compiler>, Option<&'a Linker>);
        let cases: Vec<Case<'_>> = vec![
            ("a nightly is preferred", vec![&nightly, &debian], vec![&new], true, Some(&nightly), Some(&new)),
            ("a linker may be newer", vec![&nightly], vec![&newer], true, Some(&nightly), Some(&newer)),
            (
                "the linker is too old for the nightly",
                vec![&next, &debian],
                vec![&new],
                true,
                Some(&debian),
                Some(&new),
            ),
            ("the second linker fits", vec![&debian], vec![&older, &new], true, Some(&debian), Some(&new)),
            ("an old compiler does not count", vec![&old, &debian], vec![&new], true, Some(&debian), Some(&new)),
            ("no linker: one will be built", vec![&nightly], vec![], true, Some(&nightly), None),
            ("no linker, and none can be built for it", vec![&next], vec![], true, None, None),
            ("no linker and no apt", vec![&next], vec![&new], false, Some(&next), None),
            ("a linker that fits nothing known", vec![&debian], vec![&unknown], true, Some(&debian), None),
            ("nothing", vec![], vec![], true, None, None),
        ];
        for (description, compilers, linkers, apt, compiler, linker) in cases {
            let facts = Facts {
                compilers: compilers.into_iter().cloned().collect(),
                linkers: linkers.into_iter().cloned().collect(),
                apt,
                ..Facts::default()
            };
            assert_eq!(choose(&facts), Choice { compiler, linker }, "{description}");
        }
    }

    #[test]
    fn without_apt_rustup_is_named() {
        let State::Missing { fix: Fix::ByHand(what), .. } = check(&Facts::default()) else {
            panic!("not to be done by hand");
        };
        assert!(what.contains("rust-src"), "{what}");
    }
}
