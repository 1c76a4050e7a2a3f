//! Flags of the commands about clients that are held: `get clients`, `why`, `skew` and `forget`.

use std::{
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use clap::{Args, value_parser};

use super::{OutputOptions, Scope, ServiceReference};

/// Clients that `limpet get clients` shows unless told otherwise.
const DEFAULT_CLIENT_LIMIT: u32 = 1000;

/// Which clients to list.
#[derive(Debug, Args)]
pub struct ClientOptions {
    /// Only those of this Service: NAME, or NAMESPACE/NAME
    #[arg(value_name = "SERVICE")]
    pub service: Option<ServiceReference>,
    /// Only the client that this address belongs to
    #[arg(long, value_name = "ADDRESS", value_parser = client_address)]
    pub client: Option<IpAddr>,
    /// At most so many
    #[arg(
        long, value_name = "N", default_value_t = DEFAULT_CLIENT_LIMIT, value_parser = value_parser!(u32).range(1..)
    )]
    pub limit: u32,
}

/// Arguments of `limpet why`.
#[derive(Debug, Args)]
pub struct WhyOptions {
    /// The client's address
    #[arg(value_name = "CLIENT", value_parser = client_address)]
    pub client: IpAddr,
    /// Only at this Service, with or without affinity: NAME, or NAMESPACE/NAME [default: all that hold their clients]
    #[arg(value_name = "SERVICE")]
    pub service: Option<ServiceReference>,
    /// Of which namespaces.
    #[command(flatten)]
    pub scope: Scope,
    /// How to print it.
    #[command(flatten)]
    pub output: OutputOptions,
}

/// Arguments of `limpet skew`.
#[derive(Debug, Args)]
pub struct SkewOptions {
    /// NAMESPACE/NAME, or NAME with `-n`
    #[arg(value_name = "SERVICE")]
    pub service: ServiceReference,
    /// Of which namespaces.
    #[command(flatten)]
    pub scope: Scope,
    /// How to print it.
    #[command(flatten)]
    pub output: OutputOptions,
}

/// Arguments of `limpet forget`.
#[derive(Debug, Args)]
pub struct ForgetOptions {
    /// Only the client that this address belongs to
    #[arg(
        value_name = "CLIENT", value_parser = client_address,
        required_unless_present_any = ["backend", "of_service"]
    )]
    pub client: Option<IpAddr>,
    /// Only at this Service: NAME, or NAMESPACE/NAME
    #[arg(value_name = "SERVICE")]
    pub service: Option<ServiceReference>,
    /// Only those held at this Pod: NAME, or NAMESPACE/NAME, or ADDRESS:PORT of a backend that is no Pod
    #[arg(long, value_name = "POD")]
    pub backend: Option<BackendReference>,
    /// Only those of this Service, without naming a client
    #[arg(long = "service", value_name = "NAMESPACE/NAME", conflicts_with = "service")]
    pub of_service: Option<ServiceReference>,
    /// Without asking
    #[arg(short, long)]
    pub yes: bool,
    /// List who would be forgotten, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Of which namespaces.
    #[command(flatten)]
    pub scope: Scope,
    /// How to print it.
    #[command(flatten)]
    pub output: OutputOptions,
}

impl ForgetOptions {
    /// The Service that is meant, wherever it is named.
    pub fn service(&self) -> Option<&ServiceReference> {
        self.service.as_ref().or(self.of_service.as_ref())
    }
}

/// Reads the address of a client. One of IPv4 that is mapped into IPv6 is one of IPv4: so it is on the wire.
pub(super) fn client_address(text: &str) -> Result<IpAddr, String> {
    let parsed = |text: &str| text.parse().ok().map(|address: IpAddr| address.to_canonical());
    // As the commands show a client where a Service takes a prefix for one.
    let address_of_prefix = || text.split_once('/').and_then(|(address, _)| parsed(address));
    parsed(text).ok_or_else(|| match address_of_prefix() {
        Some(address) => format!("a prefix that is one client is named by any address in it, as {address}"),
        None => "a client is named by an IPv4 or IPv6 address, as in 198.51.100.7 or 2001:db8::7".to_owned(),
    })
}

/// A backend, as it is named on the command line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum BackendReference {
    /// A Pod: NAME, or NAMESPACE/NAME.
    Pod {
        /// The namespace, when it is named.
        namespace: Option<String>,
        /// The name.
        name: String,
    },
    /// Where it listens.
    Address(SocketAddr),
}

impl FromStr for BackendReference {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        let (namespace, name) = match text.split_once('/') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, text),
        };
        if name.is_empty() || name.contains(['/', ':']) || namespace == Some("") {
            return Err("a backend is named as NAME or NAMESPACE/NAME of its Pod, or as ADDRESS:PORT".to_owned());
        }
        Ok(Self::Pod { namespace: namespace.map(str::to_owned), name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::{
        super::{Cli, Command},
        *,
    };

    fn parse(line: &str) -> Result<Command, clap::Error> {
        Cli::try_parse_from(line.split(' ')).map(|cli| cli.command)
    }

    #[test]
    fn a_backend_is_a_pod_or_an_address() {
        let pod = |namespace: Option<&str>, name: &str| BackendReference::Pod {
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
        };
        let cases = [
            ("web-1", pod(None, "web-1")),
            ("shop/web-1", pod(Some("shop"), "web-1")),
            ("10.1.0.10:80", BackendReference::Address("10.1.0.10:80".parse().unwrap())),
            ("[fd00::1]:80", BackendReference::Address("[fd00::1]:80".parse().unwrap())),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for wrong in ["", "/web", "shop/", "a/b/c", "10.1.0.10:", "web:80"] {
            assert!(wrong.parse::<BackendReference>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_client_is_an_address() {
        let cases = [
            ("198.51.100.7", Ok("198.51.100.7")),
            ("2001:db8::7", Ok("2001:db8::7")),
            ("::ffff:198.51.100.7", Ok("198.51.100.7")),
            ("198.51.100.0/24", Err("by any address in it, as 198.51.100.0")),
            ("2001:db8::/64", Err("by any address in it, as 2001:db8::")),
            ("web/24", Err("an IPv4 or IPv6 address")),
            ("198.51.100.256", Err("an IPv4 or IPv6 address")),
            ("", Err("an IPv4 or IPv6 address")),
        ];
        for (text, expected) in cases {
            match (client_address(text), expected) {
                (Ok(address), Ok(expected)) => assert_eq!(address.to_string(), expected, "{text}"),
                (Err(error), Err(expected)) => assert!(error.contains(expected), "{text}: {error}"),
                (address, _) => panic!("{text}: {address:?}"),
            }
        }
    }

    #[test]
    fn forget_needs_to_be_told_whom() {
        let forget = |line: &str| match parse(line).unwrap() {
            Command::Forget(options) => options,
            other => panic!("{other:?}"),
        };
        assert_eq!(forget("limpet forget 198.51.100.7 shop/cart").service().unwrap().name, "cart");
        assert_eq!(forget("limpet forget --service shop/cart -y").service().unwrap().name, "cart");
        assert!(forget("limpet forget --backend web-1 --service web --dry-run").dry_run);
        let wrong = [
            ("limpet forget", "required"),
            ("limpet forget --yes", "required"),
            ("limpet forget web", "an IPv4 or IPv6 address"),
            ("limpet forget 198.51.100.7 web --service web", "cannot be used with"),
            ("limpet why web", "an IPv4 or IPv6 address"),
            ("limpet why", "required"),
            ("limpet skew", "required"),
            ("limpet get clients --limit 0", "1..=4294967295"),
        ];
        for (line, expected) in wrong {
            let error = parse(line).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
            assert!(error.to_string().contains(expected), "{line}: {error}");
        }
    }
}
