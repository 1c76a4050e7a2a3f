//! Finds the BPF object that `cargo xtask build` made, for the agent to carry along.

use std::{env, path::PathBuf, process::exit};

const OBJECT: &str = "LIMPET_BPF_OBJECT";

fn main() {
    println!("cargo::rerun-if-env-changed={OBJECT}");
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("..");
    let object = env::var_os(OBJECT).map_or_else(|| root.join("target/bpf/limpet-bpf.o"), PathBuf::from);
    println!("cargo::rerun-if-changed={}", object.display());
    let Ok(object) = object.canonicalize() else {
        println!(
            "cargo::error=the BPF object {} is missing: run `cargo xtask build`, which builds it and everything else",
            object.display()
        );
        exit(1);
    };
    println!("cargo::rustc-env={OBJECT}={}", object.display());
}
