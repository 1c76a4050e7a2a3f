//! `limpet detach`: everything of Limpet off this node.

use std::path::Path;

use anyhow::{Context, Result, bail};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
};

use super::{Said, client};
use crate::{
    cli::{DetachOptions, Places},
    dataplane::{Error, Pins},
    netlink::Netlink,
};

/// Carries the command out.
///
/// # Errors
/// When an agent runs, or something cannot be removed.
pub fn run(options: &DetachOptions, places: &Places) -> Result<Said> {
    if !options.stay {
        return detach(options, places);
    }
    let runtime = runtime()?;
    // Listened for first: signals that nobody listens for do not reach the first process of a container.
    let stopped = {
        let _context = runtime.enter();
        let mut terminated = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        let mut interrupted = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
        async move {
            tokio::select! {
                _ = terminated.recv() => {}
                _ = interrupted.recv() => {}
            }
        }
    };
    detach(options, places)?.print().context("cannot write the output")?;
    runtime.block_on(stopped);
    Ok(Said::default())
}

fn detach(options: &DetachOptions, places: &Places) -> Result<Said> {
    if !options.force {
        refuse_while_alive(&places.socket)?;
    }
    let root = &places.pin_dir;
    if root.exists() && statfs(root).is_ok_and(|fs| fs.filesystem_type() != BPF_FS_MAGIC) {
        // A slip in --pin-dir must not cost anybody's files.
        return Err(Error::NoBpffs { path: root.clone() }.into());
    }
    let pins = Pins::new(root);
    // Held while pins are removed, so that no agent starts meanwhile.
    let lock = if root.exists() { pins.lock()? } else { None };
    if lock.is_none() && root.exists() && !options.force {
        bail!(
            "an agent with another socket than {} runs on these pins ({}); it would balance no more and not know it: \
             stop it first, or say --force",
            places.socket.display(),
            root.display()
        );
    }
    let removed = pins.remove()?;
    release_neighbours().context("cannot give the neighbours on the way to other nodes back to the kernel")?;
    Ok(Said::text(report(root, &removed)))
}

/// The agent has the kernel keep the neighbours on the way to other nodes resolved; from here on nobody needs that.
fn release_neighbours() -> Result<()> {
    runtime()?.block_on(async { Ok(Netlink::open()?.release_all().await?) })
}

fn runtime() -> Result<Runtime> {
    let made = tokio::runtime::Builder::new_current_thread().enable_all().build();
    made.context("cannot start the asynchronous runtime")
}

fn refuse_while_alive(socket: &Path) -> Result<()> {
    match client::status(socket) {
        Ok(agent) => bail!(
            "an agent runs on node {} (process {}) and would put everything back; stop it first, or say --force",
            agent.node,
            agent.pid
        ),
        Err(error) if error.says_dead() => Ok(()),
        Err(error) => bail!("{}; make sure that none runs, or say --force", error.sentence()),
    }
}

fn report(root: &Path, removed: &[String]) -> String {
    if removed.is_empty() {
        return format!("nothing is pinned in {}: nothing to remove\n", root.display());
    }
    let of = |kind: &str| removed.iter().filter_map(|name| name.strip_prefix(kind)).collect::<Vec<_>>();
    let (links, maps) = (of("links/"), of("maps/"));
    format!(
        "removed links ({}): {}\nremoved maps ({}): {}\nnothing is left in {}\n",
        links.len(),
        words(&links),
        maps.len(),
        words(&maps),
        root.display()
    )
}

fn words(names: &[&str]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(root: &Path) -> (DetachOptions, Places) {
        (
            DetachOptions { force: false, stay: false },
            Places { pin_dir: root.join("pins"), socket: root.join("agent.sock") },
        )
    }

    #[test]
    fn nothing_there_is_no_failure() {
        let directory = tempfile::tempdir().unwrap();
        let (options, places) = options(directory.path());
        let said = run(&options, &places).unwrap();
        assert!(said.text.contains("nothing to remove") && !said.unwell, "{said:?}");
    }

    #[test]
    fn files_of_others_are_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let (options, places) = options(directory.path());
        let file = places.pin_dir.join("v1/maps/precious");
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, "data").unwrap();
        assert!(run(&options, &places).unwrap_err().to_string().contains("not on a BPF file system"));
        assert!(file.exists());
    }

    #[test]
    fn whoever_listens_is_not_detached_from() {
        let directory = tempfile::tempdir().unwrap();
        let (options, places) = options(directory.path());
        let _listener = std::os::unix::net::UnixListener::bind(&places.socket).unwrap();
        assert!(run(&options, &places).unwrap_err().to_string().contains("--force"));
        assert!(run(&DetachOptions { force: true, stay: false }, &places).is_ok());
    }

    #[test]
    fn says_what_is_gone() {
        let removed = ["links/tcx-egress-3-eth0", "links/xdp-native-3-eth0", "maps/CONFIG"].map(str::to_owned);
        let expected = "\
removed links (2): tcx-egress-3-eth0 xdp-native-3-eth0
removed maps (1): CONFIG
nothing is left in /pins
";
        assert_eq!(report(Path::new("/pins"), &removed), expected);
    }
}
