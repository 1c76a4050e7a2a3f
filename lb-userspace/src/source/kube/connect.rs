//! Where the API server is and who the agent is there: a kubeconfig, or what a Pod is given.

use std::{
    env,
    path::{Path, PathBuf},
    time::Duration,
};

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

use super::failure::chain;

/// How long a connection may take to be made.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Where a Pod has its ServiceAccount's token.
const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// It is not said how to reach an API server, or what is said cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A kubeconfig that was named.
    #[error("cannot use the kubeconfig {path}: {reason}; mend it, or name another one with --kubeconfig")]
    Named {
        /// Where it is.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// What a Pod is given.
    #[error("cannot use this Pod's ServiceAccount: {reason}; mend that, or name a kubeconfig with --kubeconfig")]
    InCluster {
        /// What is wrong with it.
        reason: String,
    },
    /// Nothing is there.
    #[error(
        "no way to an API server is known: this is no Pod with a ServiceAccount, and $KUBECONFIG or ~/.kube/config cannot be \
         used ({reason}); name a kubeconfig with --kubeconfig, or a directory of manifests with --source dir:PATH"
    )]
    Nothing {
        /// What is wrong with the kubeconfig of the environment.
        reason: String,
    },
    /// The client cannot be made of it.
    #[error("cannot use what is said of the API server {place}: {reason}")]
    Client {
        /// The API server.
        place: String,
        /// What is wrong.
        reason: String,
    },
}

/// A client for the API server of this kubeconfig; without one, for that of the cluster whose Pod this is, else for the
/// one of `$KUBECONFIG` or `~/.kube/config`. Also returns the API server's address. Nothing is sent yet.
///
/// # Errors
/// When none is named, or what is named cannot be used.
pub(super) async fn connect(kubeconfig: Option<&Path>) -> Result<(Client, String), ConnectError> {
    let mut config = match kubeconfig {
        Some(path) => named(path).await?,
        None => inferred().await?,
    };
    config.connect_timeout = Some(CONNECT_LIMIT);
    // What fails is told and tried again here, not hidden for a while.
    config.default_retry = false;
    let place = config.cluster_url.to_string().trim_end_matches('/').to_owned();
    match Client::try_from(config) {
        Ok(client) => Ok((client, place)),
        Err(error) => Err(ConnectError::Client { place, reason: chain(&error) }),
    }
}

async fn named(path: &Path) -> Result<Config, ConnectError> {
    let failed = |reason: String| {
        // The agent has given up root's right to read everything.
        let whose = if reason.contains("Permission denied") { ": it must belong to the agent's user" } else { "" };
        ConnectError::Named { path: path.to_owned(), reason: reason + whose }
    };
    let kubeconfig = Kubeconfig::read_from(path).map_err(|error| failed(chain(&error)))?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    config.map_err(|error| failed(chain(&error)))
}

async fn inferred() -> Result<Config, ConnectError> {
    if env::var_os("KUBERNETES_SERVICE_HOST").is_some() && Path::new(TOKEN).exists() {
        return Config::incluster().map_err(|error| ConnectError::InCluster { reason: chain(&error) });
    }
    let config = Config::from_kubeconfig(&KubeConfigOptions::default()).await;
    config.map_err(|error| ConnectError::Nothing { reason: chain(&error) })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    async fn refusal(path: &Path) -> String {
        match connect(Some(path)).await {
            Ok((_, place)) => panic!("{place}"),
            Err(error) => error.to_string(),
        }
    }

    #[tokio::test]
    async fn a_kubeconfig_that_cannot_be_used_is_refused_with_its_place() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("config");
        let missing = refusal(&path).await;
        assert!(missing.contains(path.to_str().unwrap()) && missing.contains("No such file"), "{missing}");
        for (text, expected) in [
            ("clusters: [", "parse"),
            ("apiVersion: v1\nkind: Config\n", "context"),
            (
                "apiVersion: v1\nkind: Config\ncurrent-context: a\ncontexts: [{name: a, context: {cluster: none}}]\n",
                "cluster",
            ),
        ] {
            fs::write(&path, text).unwrap();
            let refusal = refusal(&path).await;
            assert!(refusal.contains(path.to_str().unwrap()) && refusal.contains(expected), "{text}: {refusal}");
        }
    }

    #[tokio::test]
    async fn a_kubeconfig_names_the_place() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("config");
        let text = "apiVersion: v1\nkind: Config\ncurrent-context: a\n\
            contexts: [{name: a, context: {cluster: c, user: u}}]\n\
            clusters: [{name: c, cluster: {server: 'https://10.0.0.1:6443/'}}]\nusers: [{name: u, user: {token: t}}]\n";
        fs::write(&path, text).unwrap();
        let (_, place) = connect(Some(&path)).await.unwrap();
        assert_eq!(place, "https://10.0.0.1:6443");
    }
}
