//! Running `nft` in a namespace.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::namespace::Namespace;

/// Loads a file of rules, all of it or nothing.
pub(crate) fn load(namespace: &Namespace, rules: &str) -> Result<()> {
    run(namespace, &["-f", "-"], rules)?;
    Ok(())
}

/// Lists a table as JSON.
pub(crate) fn list(namespace: &Namespace, family: &str, table: &str) -> Result<Value> {
    let text = run(namespace, &["-j", "list", "table", family, table], "")?;
    serde_json::from_str(&text).context("`nft -j` printed what is not JSON")
}

fn run(namespace: &Namespace, arguments: &[&str], input: &str) -> Result<String> {
    namespace.run(|| {
        let mut child = Command::new("nft")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start `nft` (Debian package nftables; `cargo xtask setup` installs it)")?;
        let mut stdin = child.stdin.take().context("`nft` has no standard input")?;
        // It reads everything before it says anything.
        let written = stdin.write_all(input.as_bytes());
        drop(stdin);
        let output = child.wait_with_output().context("cannot wait for `nft`")?;
        ensure!(
            output.status.success(),
            "`nft {}` failed in {}: {}",
            arguments.join(" "),
            namespace.name(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        written.context("`nft` did not read all its rules")?;
        String::from_utf8(output.stdout).context("`nft` printed what is not UTF-8")
    })
}
