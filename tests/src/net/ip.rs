//! Running `ip` and `ethtool`: one process for many lines of commands.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};

use super::namespace::Namespace;
use crate::address::Family;

/// Runs lines of `ip` commands inside a namespace.
pub(crate) fn batch(namespace: &Namespace, lines: &[String]) -> Result<()> {
    namespace.run(|| run(lines, None)).with_context(|| format!("in namespace {}", namespace.name()))
}

/// The same for commands whose family `ip` does not tell from their addresses: rules, and flushing tables.
pub(crate) fn batch_in(family: Family, namespace: &Namespace, lines: &[String]) -> Result<()> {
    namespace.run(|| run(lines, Some(family))).with_context(|| format!("in namespace {}", namespace.name()))
}

/// Makes a device behave like a port on a real wire.
///
/// Segments and checksums are finished by the sender, because an XDP program at the other end
/// sees the bytes as they are.
pub(crate) fn make_wire(namespace: &Namespace, devices: &[&str]) -> Result<()> {
    namespace.run(|| {
        devices.iter().try_for_each(|device| {
            let output = Command::new("ethtool")
                .args(["-K", device])
                .args(["tx", "off", "tso", "off", "gso", "off"])
                .stdin(Stdio::null())
                .output()
                .context(
                    "cannot start `ethtool` (Debian package ethtool; `cargo xtask setup` installs \
                     it)",
                )?;
            if output.status.success() {
                return Ok(());
            }
            Err(anyhow!(
                "`ethtool -K {device}` failed in {}: {}",
                namespace.name(),
                String::from_utf8_lossy(&output.stderr).trim()
            ))
        })
    })
}

fn run(lines: &[String], family: Option<Family>) -> Result<()> {
    let text = lines.join("\n") + "\n";
    let family = family.map(|family| match family {
        Family::V4 => "-4",
        Family::V6 => "-6",
    });
    let mut child = Command::new("ip")
        .args(family)
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start `ip` (Debian package iproute2; `cargo xtask setup` installs it)")?;
    let mut stdin = child.stdin.take().context("`ip` has no standard input")?;
    // `ip` cannot fill the pipe of its complaints before it has read everything: it stops at the first.
    let written = stdin.write_all(text.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().context("cannot wait for `ip`")?;
    if output.status.success() {
        return written.context("`ip` did not read all its commands");
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    bail!("`ip {}` failed: {}", failed_line(&complaint, lines).unwrap_or("-batch"), complaint.trim())
}

/// `ip -batch` names the line that failed as `Command failed -:LINE`.
fn failed_line<'a>(complaint: &str, lines: &'a [String]) -> Option<&'a str> {
    let number = complaint.rsplit("Command failed -:").next()?.trim();
    let number: usize = number.parse().ok()?;
    lines.get(number.checked_sub(1)?).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::failed_line;

    #[test]
    fn a_failed_line_is_named() {
        let lines = ["link add a".to_owned(), "link set b up".to_owned()];
        let complaint = "Cannot find device \"b\"\nCommand failed -:2\n";
        assert_eq!(failed_line(complaint, &lines), Some("link set b up"));
        assert_eq!(failed_line("Killed", &lines), None);
    }
}
