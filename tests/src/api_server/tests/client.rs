//! A client that knows nothing of Kubernetes: HTTP over TCP or TLS, and lines of JSON.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, RETRY_AFTER};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::api_server::ApiServer;

/// How long anything may take.
pub(super) const LIMIT: Duration = Duration::from_secs(10);

/// An answer with its whole body.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) code: u16,
    pub(super) retry_after: Option<String>,
    pub(super) bytes: Vec<u8>,
}

impl Said {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.bytes)))
    }
}

/// Whoever asks, with a token.
pub(super) struct Client<'a> {
    server: &'a ApiServer,
    token: String,
}

impl<'a> Client<'a> {
    pub(super) fn of(server: &'a ApiServer) -> Self {
        Self { server, token: server.issue_token() }
    }

    pub(super) async fn get(&self, path: &str) -> Said {
        self.ask(Method::GET, path, "", "").await.unwrap()
    }

    pub(super) async fn send(&self, method: Method, path: &str, body: &Value) -> Said {
        let content_type = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
        self.ask(method, path, content_type, &body.to_string()).await.unwrap()
    }

    /// Asks on a connection of its own and reads the answer to its end.
    pub(super) async fn ask(&self, method: Method, path: &str, content_type: &str, body: &str) -> Result<Said> {
        let response = self.begin(method, path, content_type, body).await?;
        let code = response.status().as_u16();
        let retry_after = response.headers().get(RETRY_AFTER).map(|value| value.to_str().unwrap().to_owned());
        let bytes = timeout(LIMIT, response.into_body().collect()).await.context("no end")??.to_bytes().to_vec();
        Ok(Said { code, retry_after, bytes })
    }

    /// Begins a watch.
    pub(super) async fn watch(&self, path: &str) -> Lines {
        let response = self.begin(Method::GET, path, "", "").await.unwrap();
        assert_eq!(response.status(), 200);
        Lines { body: response.into_body(), read: Vec::new() }
    }

    async fn begin(&self, method: Method, path: &str, content_type: &str, body: &str) -> Result<Response<Incoming>> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "localhost")
            .header(AUTHORIZATION, format!("Bearer {}", self.token))
            .header(CONTENT_TYPE, content_type)
            .body(Full::new(Bytes::from(body.to_owned())))?;
        let stream = TcpStream::connect(self.server.address()).await.context("cannot connect")?;
        match self.server.ca_pem() {
            None => over(stream, request).await,
            Some(pem) => {
                let mut roots = RootCertStore::empty();
                roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
                let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
                    .with_safe_default_protocol_versions()?
                    .with_root_certificates(roots)
                    .with_no_client_auth();
                let name = ServerName::from(self.server.address().ip());
                over(TlsConnector::from(Arc::new(config)).connect(name, stream).await?, request).await
            }
        }
    }
}

async fn over(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let _connection = tokio::spawn(connection);
    Ok(timeout(LIMIT, sender.send_request(request)).await.context("no answer")??)
}

/// What a watch tells.
pub(super) struct Lines {
    body: Incoming,
    read: Vec<u8>,
}

impl Lines {
    /// The next line; none when the watch has ended as it should.
    pub(super) async fn next(&mut self) -> Result<Option<Value>> {
        loop {
            if let Some(at) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=at).collect();
                return Ok(Some(serde_json::from_slice(&line)?));
            }
            match timeout(LIMIT, self.body.frame()).await.context("nothing comes")? {
                None if self.read.is_empty() => return Ok(None),
                None => bail!("ended within a line"),
                Some(frame) => {
                    self.read.extend_from_slice(frame?.data_ref().context("trailers")?);
                }
            }
        }
    }

    /// What has been read of a line that is not there to its end.
    pub(super) fn unfinished(&self) -> &[u8] {
        &self.read
    }

    /// The next line as `TYPE name`; bookmarks are passed over.
    pub(super) async fn event(&mut self) -> String {
        loop {
            let line = self.next().await.unwrap().expect("the watch has ended");
            if line["type"] != "BOOKMARK" {
                let name = line["object"]["metadata"]["name"].as_str().unwrap_or_default();
                return format!("{} {name}", line["type"].as_str().unwrap());
            }
        }
    }
}
