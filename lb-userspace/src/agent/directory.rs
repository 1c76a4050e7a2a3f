//! The directory of the agent's socket and lock: whoever else may write to it could put a socket of theirs in the place of
//! the agent's, and answer for it.

use std::{
    fs::{self, DirBuilder},
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::Path,
};

use anyhow::{Context, Result, ensure};
use nix::unistd::geteuid;

/// What lets a directory's group, and everybody, write to it.
const OTHERS_WRITE: u32 = 0o022;
/// For its owner alone.
const PRIVATE: u32 = 0o700;
const ROOT: u32 = 0;

/// Makes the directory, its owner's alone, where there is none.
///
/// # Errors
/// When it cannot be made, or one that is there belongs to another user than root and this one, or others may write to it.
pub(super) fn make_own(directory: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(PRIVATE).create(directory).with_context(|| {
        format!("cannot make {} for the socket; run as root, or name another place with --socket", directory.display())
    })?;
    let found = fs::metadata(directory)
        .with_context(|| format!("cannot look at {}, where the socket is to be", directory.display()))?;
    let (mode, owner) = (found.mode() & 0o7777, found.uid());
    ensure!(
        owner == ROOT || owner == geteuid().as_raw(),
        "{} belongs to another user ({owner}), who could put another socket in the place of the agent's; name another \
         place with --socket",
        directory.display()
    );
    ensure!(
        mode & OTHERS_WRITE == 0,
        "others may write to {} (mode {mode:04o}), and could put another socket in the place of the agent's; type \
         `chmod go-w {}`, or name another place with --socket",
        directory.display(),
        directory.display()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown};

    use super::*;

    #[test]
    fn a_directory_that_others_write_to_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let [own, strangers] = ["made/own", "strangers"].map(|name| parent.path().join(name));
        make_own(&own).unwrap();
        assert_eq!(fs::metadata(&own).unwrap().mode() & 0o7777, PRIVATE);
        make_own(&own).expect("also when it is there");
        for (mode, is_refused) in [(0o755, false), (0o775, true), (0o757, true), (0o1777, true)] {
            fs::set_permissions(&own, fs::Permissions::from_mode(mode)).unwrap();
            let outcome = make_own(&own).map_err(|error| error.to_string());
            assert_eq!(outcome.is_err(), is_refused, "{mode:o}: {outcome:?}");
            let Err(said) = outcome else { continue };
            assert!(said.contains(&format!("mode {mode:04o}")) && said.contains("chmod go-w"), "{said}");
        }
        fs::create_dir(&strangers).unwrap();
        chown(&strangers, Some(65_534), None).expect("this test gives a directory away: run it as root");
        let said = make_own(&strangers).unwrap_err().to_string();
        assert!(said.contains("belongs to another user (65534)") && said.contains("--socket"), "{said}");
    }
}
