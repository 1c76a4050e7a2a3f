//! bpf-linker: which are there, which LLVM they have, and building one, once per machine.

use std::fs;
use std::path::{Path, PathBuf};

use super::bpf_toolchain::{self, Compiler, Toolchain};
use super::{Facts, Fix, Purpose, Requirement, State, apt};
use crate::project::Project;
use crate::{bpf_object, cargo, logged, tool};

/// The program's name, and that of its crate.
const NAME: &str = "bpf-linker";
/// The version that is built.
const VERSION: &str = "0.13.0";
/// The LLVM that it is built with, from Debian; no older one will do, because it cannot be told that loads need no
/// alignment.
pub(super) const LLVM: u32 = 22;
/// Its Debian package, its directory, and what the crates call it.
const LLVM_PACKAGE: &str = "llvm-22-dev";
const LLVM_PREFIX: &str = "/usr/lib/llvm-22";
const LLVM_PREFIX_VARIABLES: [&str; 2] = ["LLVM_PREFIX", "LLVM_SYS_221_PREFIX"];
const LLVM_FEATURE: &str = "llvm-22";

pub(super) const REQUIREMENT: Requirement = Requirement { what: NAME, purpose: Purpose::Build, check, install };

/// A bpf-linker that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Linker {
    /// The program.
    pub(crate) path: PathBuf,
    /// Its own version.
    pub(crate) version: String,
    /// The newest LLVM, by major version, whose output it is known to read.
    pub(crate) llvm: Option<u32>,
}

/// Every bpf-linker on the search path that runs, in its order.
pub(super) fn gather(project: &Project, compilers: &[Compiler]) -> Vec<Linker> {
    let mut linkers: Vec<Linker> = tool::find_all(NAME).iter().filter_map(|path| linker(path)).collect();
    for linker in linkers.iter_mut().filter(|linker| linker.llvm.is_none()) {
        linker.llvm = try_out(project, compilers, linker);
    }
    linkers
}

fn check(facts: &Facts) -> State {
    let choice = bpf_toolchain::choose(facts);
    if let Some(Linker { path, version, llvm }) = choice.linker {
        let llvm = llvm.map_or_else(|| "unknown".to_owned(), |major| major.to_string());
        return State::Found(format!("{version} (LLVM {llvm}) {}", path.display()));
    }
    let llvm = choice.compiler.map_or(LLVM, |compiler| compiler.llvm.max(LLVM));
    State::Missing {
        needed: format!("one with LLVM {llvm} or newer"),
        fix: Fix::with_apt(
            facts,
            format!("see https://github.com/aya-rs/bpf-linker#installation for one with LLVM {llvm} or newer"),
        ),
    }
}

fn install(_facts: &Facts, project: &Project) -> anyhow::Result<String> {
    let mut did = Vec::new();
    if !apt::not_installed(&[LLVM_PACKAGE]).is_empty() {
        did.push(apt::install(project, &[LLVM_PACKAGE])?);
    }
    let mut build = cargo::host(project);
    build.args(["install", NAME, "--version", VERSION, "--locked"]);
    build.args(["--no-default-features", "--features", LLVM_FEATURE]);
    for variable in LLVM_PREFIX_VARIABLES {
        build.env(variable, LLVM_PREFIX);
    }
    // One that is there already does not fit, or does not run: without this cargo would leave it.
    build.arg("--force");
    logged::run("building bpf-linker, once for this machine", &project.log(NAME), &mut build)?;
    did.push(format!("built bpf-linker {VERSION} into cargo's bin directory"));
    Ok(did.join("; "))
}

/// The linker at a path; `None` when it does not run, as when its LLVM was removed.
fn linker(path: &Path) -> Option<Linker> {
    let answer = tool::answer(tool::command(path).arg("--version").env_remove("LD_LIBRARY_PATH"))?;
    let version = answer.split_whitespace().last()?.to_owned();
    let llvm = fs::read(path).ok().and_then(|program| llvm_of(&program));
    Some(Linker { path: path.to_owned(), version, llvm })
}

/// The major version of the LLVM in a program, which bpf-linker does not print.
///
/// A shared LLVM is named in the program as `libLLVM.so.22.1` or `libLLVM-22.so`. A static one has
/// `LLVM22.1.8` in it, which LLVM writes into each bitcode file as the producer.
fn llvm_of(program: &[u8]) -> Option<u32> {
    const PREFIXES: [&[u8]; 3] = [b"libLLVM.so.", b"libLLVM-", b"LLVM"];
    PREFIXES.iter().find_map(|prefix| {
        program
            .windows(prefix.len() + 3)
            .filter(|window| window.starts_with(prefix))
            .find_map(|window| two_digits_and_a_dot(&window[prefix.len()..]))
    })
}

/// `22.` as 22: every LLVM that can be meant has two digits.
fn two_digits_and_a_dot(text: &[u8]) -> Option<u32> {
    match text {
        [tens @ b'1'..=b'9', ones @ b'0'..=b'9', b'.'] => Some(u32::from(tens - b'0') * 10 + u32::from(ones - b'0')),
        _ => None,
    }
}

/// The newest LLVM among the compilers whose output the linker links, found by building a tiny program.
fn try_out(project: &Project, compilers: &[Compiler], linker: &Linker) -> Option<u32> {
    let mut newest_first: Vec<&Compiler> = compilers.iter().collect();
    newest_first.sort_by_key(|compiler| std::cmp::Reverse(compiler.llvm));
    newest_first.into_iter().find_map(|compiler| {
        let toolchain = Toolchain { compiler: compiler.clone(), linker: linker.clone() };
        bpf_object::links(project, &toolchain).then_some(compiler.llvm)
    })
}

#[cfg(test)]
mod tests {
    use super::llvm_of;

    #[test]
    fn llvm_is_read_out_of_the_program() {
        let cases: [(&str, &[u8], Option<u32>); 6] = [
            ("shared, Debian", b"\0libLLVM.so.22.1\0libc.so.6\0", Some(22)),
            ("shared, older Debian", b"\0libLLVM-19.so.1\0", Some(19)),
            ("static", b"\0\x7f LLVM21.1.3-rust-1.91.0-stable\0", Some(21)),
            ("shared wins over a text", b"LLVM19.1 \0libLLVM.so.23.0\0", Some(23)),
            ("only talk", b"LLVM 22 builds also support", None),
            ("nothing", b"", None),
        ];
        for (description, program, expected) in cases {
            assert_eq!(llvm_of(program), expected, "{description}");
        }
    }
}
