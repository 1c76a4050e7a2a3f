//! Kubernetes objects for the agents to read, in a directory of files or at an API server.
//!
//! One file an object, or a Service together with its slices, so that a change to a Service is
//! seen whole or not at all. The documents are JSON, which is YAML. At an API server every object is by itself, as they are
//! in a cluster; a file is then only the name of a group of them.

mod objects;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::address::Family;
use crate::api_server::{ApiServer, Kind};
use crate::world::World;

/// Where the agents of a lab read.
#[derive(Debug)]
pub struct Manifests {
    directory: PathBuf,
    /// Files are written here, on the same file system, and renamed into place.
    staging: PathBuf,
    /// Where agents read instead of the directory.
    server: Option<Server>,
}

struct Server {
    api: Arc<ApiServer>,
    kubeconfig: PathBuf,
    /// What each group has there.
    groups: Mutex<BTreeMap<String, BTreeSet<ObjectKey>>>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Server").field(&self.api.url()).finish()
    }
}

/// Kind, namespace and name of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ObjectKey {
    kind: Kind,
    namespace: String,
    name: String,
}

impl Manifests {
    pub(crate) fn in_directories(directory: PathBuf, staging: PathBuf) -> Self {
        Self { directory, staging, server: None }
    }

    /// Lets the agents read from this API server instead, and trust and show it what this kubeconfig says.
    pub(crate) fn read_from(&mut self, api: Arc<ApiServer>, kubeconfig: PathBuf) {
        self.server = Some(Server { api, kubeconfig, groups: Mutex::default() });
    }

    /// The directory. Its files are only read where no API server is.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The API server that is read instead of the directory.
    #[must_use]
    pub fn api_server(&self) -> Option<&Arc<ApiServer>> {
        self.server.as_ref().map(|server| &server.api)
    }

    /// The flags that make an agent read here.
    pub(crate) fn flags(&self) -> Vec<OsString> {
        match &self.server {
            Some(server) => {
                vec!["--source".into(), "kube".into(), "--kubeconfig".into(), server.kubeconfig.clone().into()]
            }
            None => vec!["--source".into(), format!("dir:{}", self.directory.display()).into()],
        }
    }

    /// Writes a file of any content under this name in one step. An API server takes objects alone.
    pub fn write(&self, name: &str, content: &str) -> Result<()> {
        if self.server.is_some() {
            bail!("{name} is text, which can only be given to agents that read a directory");
        }
        let staged = self.staging.join(name);
        let path = self.directory.join(name);
        fs::write(&staged, content).with_context(|| format!("cannot write {}", staged.display()))?;
        fs::rename(&staged, &path).with_context(|| format!("cannot put {} there", path.display()))
    }

    /// Removes a file, or a group of objects; does nothing when it is not there.
    pub fn remove(&self, name: &str) -> Result<()> {
        if let Some(server) = &self.server {
            return server.put(name, &[]);
        }
        let path = self.directory.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", path.display()))
            }
            _ => Ok(()),
        }
    }

    /// Writes objects as one file in one step; at an API server as a group, from which those go that are not named any more.
    pub fn write_objects(&self, name: &str, objects: &[Value]) -> Result<()> {
        match &self.server {
            Some(server) => server.put(name, objects),
            None => self.write(name, &text(objects)?),
        }
    }

    pub(crate) fn write_node(&self, world: &World, node: u8) -> Result<()> {
        self.write_objects(&format!("node-n{node}.yaml"), &[objects::node(world, node)])
    }

    pub(crate) fn write_service(&self, world: &World, name: &str) -> Result<()> {
        let service = world.service(name)?;
        let mut documents = vec![objects::service(service)];
        for family in Family::BOTH {
            documents.push(objects::slice(world, service, family));
        }
        self.write_objects(&service_file(name), &documents)
    }

    pub(crate) fn remove_service(&self, name: &str) -> Result<()> {
        self.remove(&service_file(name))
    }
}

impl Server {
    /// First those that go, as a controller does that replaces them.
    fn put(&self, group: &str, objects: &[Value]) -> Result<()> {
        let keys = objects.iter().map(key).collect::<Result<BTreeSet<_>>>()?;
        // A set of names is whole after every operation, so that a panic elsewhere spoils nothing.
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let known = groups.insert(group.to_owned(), keys.clone()).unwrap_or_default();
        for ObjectKey { kind, namespace, name } in known.difference(&keys) {
            self.api.delete(*kind, namespace, name)?;
        }
        objects.iter().try_for_each(|object| self.api.apply(object.clone()).map(drop))
    }
}

fn key(object: &Value) -> Result<ObjectKey> {
    let kind = Kind::of(object).with_context(|| format!("{object} is of no kind that the API server keeps"))?;
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    Ok(ObjectKey { kind, namespace: text("namespace"), name: text("name") })
}

fn service_file(name: &str) -> String {
    format!("service-{name}.yaml")
}

fn text(documents: &[Value]) -> Result<String> {
    let mut text = String::new();
    for document in documents {
        text.push_str("---\n");
        text.push_str(&serde_json::to_string_pretty(document).context("cannot write JSON")?);
        text.push('\n');
    }
    Ok(text)
}
