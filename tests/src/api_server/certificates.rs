//! A CA of the server's own, its certificate, and some that it should not show.

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::fault::WrongCertificate;

/// Names and addresses under which the server is reached, beside the one that it listens on.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// What the server can show.
pub(super) struct Certificates {
    /// The CA's certificate, for clients.
    pub(super) ca_pem: String,
    right: TlsAcceptor,
    unknown_ca: TlsAcceptor,
    other_name: TlsAcceptor,
    expired: TlsAcceptor,
}

impl Certificates {
    /// New ones, for a server at this address.
    pub(super) fn make(address: IpAddr) -> Result<Self> {
        let (ca_pem, ca) = authority("limpet-lab CA")?;
        let (_, stranger) = authority("somebody's CA")?;
        let mut names = Vec::from(NAMES.map(str::to_owned));
        if !NAMES.contains(&address.to_string().as_str()) {
            names.push(address.to_string());
        }
        let other = ["somebody.example".to_owned()];
        Ok(Self {
            ca_pem,
            right: acceptor(&ca, &names, false)?,
            unknown_ca: acceptor(&stranger, &names, false)?,
            other_name: acceptor(&ca, &other, false)?,
            expired: acceptor(&ca, &names, true)?,
        })
    }

    /// What to show; none wrong is the right one.
    pub(super) fn acceptor(&self, wrong: Option<WrongCertificate>) -> TlsAcceptor {
        let acceptor = match wrong {
            None => &self.right,
            Some(WrongCertificate::UnknownCa) => &self.unknown_ca,
            Some(WrongCertificate::OtherName) => &self.other_name,
            Some(WrongCertificate::Expired) => &self.expired,
        };
        acceptor.clone()
    }
}

fn authority(name: &str) -> Result<(String, Issuer<'static, KeyPair>)> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().context("cannot make a key for a CA")?;
    let certificate = params.self_signed(&key).context("cannot make a CA")?;
    Ok((certificate.pem(), Issuer::new(params, key)))
}

fn acceptor(issuer: &Issuer<'_, KeyPair>, names: &[String], is_expired: bool) -> Result<TlsAcceptor> {
    let mut params = CertificateParams::new(names).context("cannot name a server in a certificate")?;
    if is_expired {
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
    }
    let key = KeyPair::generate().context("cannot make a server's key")?;
    let certificate = params.signed_by(&key, issuer).context("cannot sign a server's certificate")?;
    let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .context("cannot set up TLS")?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .context("cannot use a certificate")?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
