//! The file that tells a client where the server is, whom to trust and who it is.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// How a client says who it is.
pub(super) enum User<'a> {
    Token(&'a str),
    TokenFile(&'a Path),
}

/// Writes a kubeconfig, and the CA's certificate beside it under the same name with `.ca.crt` at its end. In JSON, which is
/// YAML.
pub(super) fn write(path: &Path, url: &str, ca_pem: Option<&str>, user: User<'_>) -> Result<()> {
    let mut cluster = json!({"server": url});
    if let Some(pem) = ca_pem {
        let ca = beside(path, "ca.crt");
        put(&ca, pem)?;
        cluster["certificate-authority"] = json!(fs::canonicalize(&ca).unwrap_or(ca));
    }
    let user = match user {
        User::Token(token) => json!({"token": token}),
        User::TokenFile(file) => json!({"tokenFile": file}),
    };
    put(path, &format!("{:#}\n", config(&cluster, &user)))
}

fn config(cluster: &Value, user: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "lab", "cluster": cluster}],
        "users": [{"name": "limpet", "user": user}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "limpet"}}],
        "current-context": "lab",
    })
}

fn beside(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(extension);
    path.with_file_name(name)
}

fn put(path: &Path, content: &str) -> Result<()> {
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
}
