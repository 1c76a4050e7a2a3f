//! The manifests: rendered from the Helm chart by Helm itself, checked in, and checked.
//!
//! The chart is the source. What is rendered with the values named in [`VARIANTS`] is checked in, so that a change of the
//! chart shows what it does to an installation, and so that nobody needs Helm to install.

mod check;
#[cfg(test)]
mod tests;
mod toolbox;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

pub(crate) use self::check::check;
pub(crate) use self::toolbox::Toolbox;
use crate::project::Project;

/// The chart, below the workspace's root.
const CHART: &str = "deploy/helm/limpet";
/// Where rendered manifests are checked in, below the workspace's root.
const RENDERED: &str = "deploy/manifests";
/// The release's name and namespace in them.
const RELEASE: &str = "limpet";
const NAMESPACE: &str = "kube-system";

/// An installation that is checked in.
pub(crate) struct Variant {
    /// Its file's name, without `.yaml`.
    name: &'static str,
    /// The chart's file with its values, if they are not the defaults.
    values: Option<&'static str>,
}

/// All of them.
pub(crate) const VARIANTS: [Variant; 4] = [
    Variant { name: "default", values: None },
    Variant { name: "hardened", values: Some("values-hardened.yaml") },
    Variant { name: "no-kube-proxy", values: Some("values-no-kube-proxy.yaml") },
    Variant { name: "detach", values: Some("values-detach.yaml") },
];

impl Variant {
    /// The file that it is checked in as.
    fn path(&self, project: &Project) -> PathBuf {
        project.root.join(RENDERED).join(self.name).with_extension("yaml")
    }

    /// What should be in it.
    fn render(&self, toolbox: &Toolbox) -> anyhow::Result<String> {
        let values: Vec<PathBuf> = self.values.iter().map(|file| toolbox.chart().join(file)).collect();
        let rendered = toolbox.template(&values)?;
        let by_hand = self.values.map_or_else(String::new, |file| format!(" --values {CHART}/{file}"));
        Ok(format!(
            "# Rendered by `cargo xtask manifests`; the source is {CHART}. The same by hand:\n\
             # helm template {RELEASE} {CHART} --namespace {NAMESPACE}{by_hand}\n{rendered}"
        ))
    }
}

/// Writes what is checked in anew; gives the files that changed.
pub(crate) fn write(project: &Project, toolbox: &Toolbox) -> anyhow::Result<Vec<PathBuf>> {
    let mut changed = Vec::new();
    for variant in &VARIANTS {
        let (path, text) = (variant.path(project), variant.render(toolbox)?);
        if read_if_there(&path)?.as_ref() != Some(&text) {
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
            changed.push(path);
        }
    }
    Ok(changed)
}

fn read_if_there(path: &Path) -> anyhow::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}
