//! What each command does, step by step; gives the exit code it ends with.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, anyhow, bail};

use crate::args::{Bench, Output, Soak};
use crate::manifests::Toolbox;
use crate::progress::say;
use crate::project::{BPF_PACKAGE, OBJECT_VARIABLE, Profile, Project};
use crate::setup::{self, Facts, Purpose, Toolchain, root};
use crate::{bpf_object, cargo, fuzz, image, logged, manifests, supply_chain, test_runs, tool};

/// The program that makes the lab, and shows the demo, the scenarios and the soak.
const LAB: &str = "limpet-lab";
/// The page that the scenarios write, below the workspace's root.
const SCENARIOS_PAGE: &str = "docs/scenarios.md";
/// The package that what measures belongs to.
const BENCH_PACKAGE: &str = "lb-userspace";

/// Installs what is missing.
pub(crate) fn setup(project: &Project) -> anyhow::Result<u8> {
    if !setup::ensure(project, Purpose::Test)?.changed {
        say("nothing to do: everything is there (`cargo xtask doctor` lists it)");
    }
    Ok(0)
}

/// Prints what is there and what is missing; 1 when something is.
pub(crate) fn doctor(project: &Project, output: Output) -> anyhow::Result<u8> {
    let report = setup::report::Report::new(&Facts::gather(project)?);
    match output {
        Output::Table => print!("{}", report.table()),
        Output::Json => println!("{:#}", report.json()),
    }
    Ok(if report.is_complete() { 0 } else { 1 })
}

/// Builds the BPF objects, then user space, the lab and the bench.
pub(crate) fn build(project: &Project, profile: Profile) -> anyhow::Result<u8> {
    build_all(project, Purpose::Build, profile)?;
    if profile == Profile::Dev {
        build_other_layout(project)?;
    }
    say(&format!("built  {}", project.results(profile).display()));
    Ok(0)
}

/// Formatting, then clippy for the host and for BPF.
pub(crate) fn lint(project: &Project) -> anyhow::Result<u8> {
    let toolchain = build_bpf(project, Purpose::Build)?;

    let mut format = cargo::host(project);
    format.args(["fmt", "--all", "--check"]);
    tool::must_succeed("checking the formatting (`cargo fmt --all` mends it)", &mut format)?;

    let mut host = cargo::host(project);
    host.args(["clippy", "--workspace", "--exclude", BPF_PACKAGE, "--all-targets"]);
    host.args(["--", "-D", "warnings"]);
    tool::must_succeed("clippy for the host", &mut host)?;

    let mut bpf = bpf_object::clippy(project, &toolchain);
    tool::must_succeed("clippy for BPF", &mut bpf)?;
    say("done   lint: nothing to complain about");
    Ok(0)
}

/// Builds everything, then runs every test; the exit code is the runner's.
pub(crate) fn test(project: &Project, args: &[String]) -> anyhow::Result<u8> {
    root::require("the tests load BPF programs and make network namespaces")?;
    // Also the programs that tests run: cargo would build those of other packages for none of them.
    build_all(project, Purpose::Test, Profile::Dev)?;
    build_other_layout(project)?;

    if args.is_empty() {
        let code = test_runs::all(project)?;
        say(&if code == 0 { "done   all tests passed".to_owned() } else { format!("FAILED tests (exit code {code})") });
        return Ok(code);
    }
    let mut test = cargo::host(project);
    test.arg("test");
    if !selects_packages(args) {
        test.args(["--workspace", "--exclude", BPF_PACKAGE]);
    }
    test.args(args);
    let code = tool::run_here(&mut test)?;
    if code != 0 {
        say(&format!("FAILED tests (exit code {code})\n  command: {}", tool::line(&test)));
    }
    Ok(code)
}

/// Builds the fuzz targets and runs them; 1 when one found something.
pub(crate) fn fuzz(project: &Project, targets: &[String], seconds: u32) -> anyhow::Result<u8> {
    let targets = fuzz::choose(project, targets)?;
    build_bpf(project, Purpose::Fuzz)?;
    fuzz::build(project)?;
    let found = fuzz::run(project, &targets, seconds)?;
    say(&if found == 0 {
        "done   nothing was found".to_owned()
    } else {
        format!("FAILED targets that found something: {found}")
    });
    Ok(if found == 0 { 0 } else { 1 })
}

/// Builds everything, then becomes the lab's demo.
pub(crate) fn demo(project: &Project, keep: bool, down: bool) -> anyhow::Result<u8> {
    root::require("the demo loads BPF programs and makes network namespaces")?;
    // A lab that is up was made by a program that is there: ending it must not depend on a tree that builds.
    if !down || program(project, Profile::Dev, LAB).is_err() {
        build_all(project, Purpose::Run, Profile::Dev)?;
    }

    let mut demo = tool::command(program(project, Profile::Dev, LAB)?);
    demo.arg("demo");
    demo.args(keep.then_some("--keep")).args(down.then_some("--down"));
    become_it(&mut demo)
}

/// Builds everything, then becomes the lab's scenarios, which write their page of documentation.
pub(crate) fn scenarios(project: &Project, json: Option<&Path>) -> anyhow::Result<u8> {
    root::require("the scenarios load BPF programs and make network namespaces")?;
    build_all(project, Purpose::Run, Profile::Dev)?;

    let mut scenarios = tool::command(program(project, Profile::Dev, LAB)?);
    scenarios.arg("scenarios").arg("--markdown").arg(project.root.join(SCENARIOS_PAGE));
    if let Some(file) = json {
        scenarios.arg("--json").arg(file);
    }
    become_it(&mut scenarios)
}

/// Builds everything as it is shipped, then becomes the lab's soak.
pub(crate) fn soak(project: &Project, soak: &Soak) -> anyhow::Result<u8> {
    root::require("the soak loads BPF programs and makes network namespaces")?;
    build_all(project, Purpose::Run, Profile::Release)?;

    let Soak { minutes, seed, json, markdown } = soak;
    let mut command = tool::command(program(project, Profile::Release, LAB)?);
    command.args(["soak", "--minutes", &minutes.to_string(), "--seed", &seed.to_string()]);
    for (flag, file) in [("--json", json), ("--markdown", markdown)] {
        if let Some(file) = file {
            command.arg(flag).arg(file);
        }
    }
    become_it(&mut command)
}

/// Renders the manifests, or checks them.
pub(crate) fn manifests(project: &Project, check: bool) -> anyhow::Result<u8> {
    setup::ensure(project, Purpose::Render)?;
    let toolbox = Toolbox::find(project)?;
    if check {
        manifests::check(project, &toolbox)?;
        return Ok(0);
    }
    let changed = manifests::write(project, &toolbox)?;
    for path in &changed {
        say(&format!("new    {}", path.display()));
    }
    if changed.is_empty() {
        say("nothing to do: the manifests are what the chart renders");
    }
    Ok(0)
}

/// Builds the BPF objects, then a static program and its image.
pub(crate) fn image(project: &Project, tag: Option<&str>, output: Option<&Path>) -> anyhow::Result<u8> {
    root::require("what is in the image belongs to root")?;
    build_bpf(project, Purpose::Package)?;
    let image = image::build(project, tag, output)?;
    let mebibytes = image.bytes.div_ceil(1 << 20);
    say(&format!("image  {} ({mebibytes} MiB) with {}", image.archive.display(), image.tag));
    say(&format!("sbom   {}", image.bill.display()));
    Ok(0)
}

/// Checks what we depend on; the exit code is the checker's.
pub(crate) fn deny(project: &Project, is_offline: bool) -> anyhow::Result<u8> {
    supply_chain::deny(project, is_offline)
}

/// Builds everything for speed, then becomes the bench.
pub(crate) fn bench(project: &Project, bench: &Bench) -> anyhow::Result<u8> {
    root::require("the bench loads BPF programs")?;
    build_bpf(project, Purpose::Run)?;
    let (target, json) = bench.target();
    let target = ["--package", BENCH_PACKAGE, "--bench", target];
    let mut build = cargo::host(project);
    build.args(["bench", "--no-run"]).args(target);
    logged::run("building the bench, for speed", &project.log("build-bench"), &mut build)?;

    let mut bench = cargo::host(project);
    bench.args(["bench", "--quiet"]).args(target);
    if let Some(file) = json {
        // cargo runs a bench in its package's directory, not in this one.
        let file = std::path::absolute(file).with_context(|| format!("{} is no path", file.display()))?;
        bench.arg("--").arg("--json").arg(file);
    }
    become_it(&mut bench)
}

/// Makes sure of what is needed, and builds the BPF objects.
fn build_bpf(project: &Project, needed: Purpose) -> anyhow::Result<Toolchain> {
    let toolchain = toolchain(&setup::ensure(project, needed)?.facts)?;
    bpf_object::build(project, &toolchain)?;
    Ok(toolchain)
}

/// The same, and builds everything that a plain `cargo build` builds.
fn build_all(project: &Project, needed: Purpose, profile: Profile) -> anyhow::Result<()> {
    build_bpf(project, needed)?;
    let mut build = cargo::host(project);
    // Named one by one they would be the same packages; said so, features are unified as in `cargo test`.
    build.args(["build", "--workspace", "--exclude", BPF_PACKAGE]).args(profile.flags());
    logged::run("building user space, the lab and the bench", &project.log("build"), &mut build)
}

/// Builds `limpet-other`, a `limpet` with another layout of the maps: what tests upgrade to, and back from.
fn build_other_layout(project: &Project) -> anyhow::Result<()> {
    let toolchain = toolchain(&Facts::gather(project)?)?;
    let object = bpf_object::build_other_layout(project, &toolchain)?;
    let mut build = cargo::host(project);
    build.env(OBJECT_VARIABLE, object);
    // Of the whole workspace, as everything is built, so that all that has no layout is there already.
    build.args(["build", "--workspace", "--exclude", BPF_PACKAGE, "--bin", "limpet-other"]);
    build.args(["--features", "lb-userspace/other-layout"]);
    logged::run("building limpet with another layout", &project.log("build-other-layout"), &mut build)
}

/// What BPF programs are built with.
fn toolchain(facts: &Facts) -> anyhow::Result<Toolchain> {
    let found = facts.toolchain();
    found.ok_or_else(|| anyhow!("no compiler and linker for BPF that fit together; see `cargo xtask doctor`"))
}

/// A program that was just built. Fails when the workspace has none of that name.
fn program(project: &Project, profile: Profile, name: &str) -> anyhow::Result<PathBuf> {
    let path = project.results(profile).join(name);
    if !path.is_file() {
        bail!("the workspace was built, but has no program `{name}`: {} is missing", path.display());
    }
    Ok(path)
}

/// Replaces this process, so that signals and the exit code are the program's own; returns only to fail.
fn become_it(command: &mut Command) -> anyhow::Result<u8> {
    let line = tool::line(command);
    Err(command.exec()).with_context(|| format!("cannot start: {line}"))
}

/// Whether arguments for `cargo test` say which packages to test, which `--workspace` would overrule.
fn selects_packages(args: &[String]) -> bool {
    args.iter().take_while(|arg| *arg != "--").any(|arg| {
        arg == "--package" || arg.starts_with("--package=") || (arg.starts_with("-p") && !arg.starts_with("--"))
    })
}

#[cfg(test)]
mod tests {
    use super::selects_packages;

    #[test]
    fn a_package_selection_replaces_the_workspace() {
        let cases: [(&[&str], bool); 6] = [
            (&[], false),
            (&["maglev"], false),
            (&["-p", "lb-common"], true),
            (&["-plb-common"], true),
            (&["--package=lb-common", "--", "x"], true),
            (&["--", "-p"], false),
        ];
        for (args, expected) in cases {
            let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
            assert_eq!(selects_packages(&args), expected, "{args:?}");
        }
    }
}
