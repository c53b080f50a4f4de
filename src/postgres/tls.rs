//! Whether a connection is encrypted, and who must answer it.
//!
//! The default checks chain and name (`verify-full`). Plain text is taken without asking only where nobody stands
//! in between: a unix socket, loopback, or, with a warning, a single-label host (a container network). Elsewhere it
//! needs `sslmode: disable` and `security.allow_plaintext`. A decision for TLS never falls back.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use crate::config::{Postgres, PostgresTls, SslMode};
use crate::error::{Error, Result};

/// How to speak to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Plain {
        /// The network is trusted by its name only; worth a warning.
        warn: bool,
    },
    Tls(Verification),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verification {
    None,
    Chain,
    ChainAndName,
}

pub(super) fn choose_transport(postgres: &Postgres, allow_plaintext: bool) -> Result<Transport> {
    let reach = reach(&postgres.host);
    let trusted = reach != Reach::Remote || allow_plaintext;
    match postgres.tls.mode {
        _ if reach == Reach::UnixSocket => Ok(Transport::Plain { warn: false }),
        None if reach == Reach::Loopback => Ok(Transport::Plain { warn: false }),
        None if reach == Reach::SingleLabel => Ok(Transport::Plain { warn: true }),
        None | Some(SslMode::VerifyFull) => Ok(Transport::Tls(Verification::ChainAndName)),
        Some(SslMode::VerifyCa) => Ok(Transport::Tls(Verification::Chain)),
        // As libpq: with a root certificate at hand, `require` checks the chain.
        Some(SslMode::Require) if postgres.tls.root_cert.is_some() => Ok(Transport::Tls(Verification::Chain)),
        Some(SslMode::Require) if trusted => Ok(Transport::Tls(Verification::None)),
        Some(SslMode::Disable) if trusted => Ok(Transport::Plain { warn: reach != Reach::Loopback }),
        Some(mode) => Err(Error::config(format!(
            "postgres.sslmode `{}` would let anyone answer for `{}`; use verify-full, or set \
             security.allow_plaintext: true to accept it",
            if mode == SslMode::Disable { "disable" } else { "require" },
            postgres.host
        ))),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    UnixSocket,
    Loopback,
    SingleLabel,
    Remote,
}

fn reach(host: &str) -> Reach {
    if host.starts_with('/') {
        return Reach::UnixSocket;
    }
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(address) if address.to_canonical().is_loopback() => Reach::Loopback,
        Ok(_) => Reach::Remote,
        Err(_) if bare.eq_ignore_ascii_case("localhost") => Reach::Loopback,
        Err(_) if !bare.contains('.') && !bare.contains(':') => Reach::SingleLabel,
        Err(_) => Reach::Remote,
    }
}

/// The client configuration for a decision; reads the certificates it names.
pub(super) fn client_config(tls: &PostgresTls, verification: Verification) -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::config("no usable tls version").because(error))?;
    let builder = match verification {
        Verification::ChainAndName => builder.with_root_certificates(roots(tls)?),
        Verification::Chain => {
            let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots(tls)?), provider)
                .build()
                .map_err(|error| Error::config("postgres.sslrootcert holds no usable certificate").because(error))?;
            builder.dangerous().with_custom_certificate_verifier(Arc::new(ChainOnly(chain)))
        }
        Verification::None => builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(provider))),
    };
    match (&tls.cert, &tls.key) {
        (None, None) => Ok(builder.with_no_client_auth()),
        (Some(cert), Some(key)) => {
            let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable("postgres.sslkey", key, error))?;
            builder
                .with_client_auth_cert(certificates("postgres.sslcert", cert)?, key)
                .map_err(|error| Error::config("postgres.sslcert and postgres.sslkey do not fit").because(error))
        }
        _ => Err(Error::config("postgres.sslcert and postgres.sslkey are only of use together; set both")),
    }
}

fn roots(tls: &PostgresTls) -> Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    match &tls.root_cert {
        Some(path) => {
            for certificate in certificates("postgres.sslrootcert", path)? {
                store.add(certificate).map_err(|error| {
                    Error::config(format!("postgres.sslrootcert: {} is no root certificate", path.display()))
                        .because(error)
                })?;
            }
        }
        None => {
            // Single unreadable certificates of the system are no reason to stop; none at all is.
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if store.is_empty() {
                return Err(Error::config(
                    "the system holds no root certificates to check postgresql's with; set postgres.sslrootcert",
                ));
            }
        }
    }
    Ok(store)
}

fn certificates(key: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let all: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| unreadable(key, path, error))?;
    if all.is_empty() {
        return Err(Error::config(format!("{key}: {} holds no certificate", path.display())));
    }
    Ok(all)
}

fn unreadable(key: &str, path: &Path, error: rustls_pki_types::pem::Error) -> Error {
    Error::config(format!("{key}: cannot read {}", path.display())).because(error)
}

/// `verify-ca`: the chain counts, the name does not.
#[derive(Debug)]
struct ChainOnly(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for ChainOnly {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// `require`: encrypted, whoever answers. The handshake's signatures are still checked.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn postgres(host: &str, mode: Option<SslMode>) -> Postgres {
        Postgres {
            host: host.to_owned(),
            port: 5432,
            database: "food".to_owned(),
            user: "student".to_owned(),
            password: None,
            table: "orders".to_owned(),
            tls: PostgresTls { mode, root_cert: None, cert: None, key: None },
        }
    }

    fn choice(host: &str, mode: Option<SslMode>, allow: bool) -> Option<Transport> {
        choose_transport(&postgres(host, mode), allow).ok()
    }

    #[test]
    fn plain_text_is_taken_without_asking_only_where_nobody_stands_between() {
        for host in ["localhost", "127.0.0.1", "127.8.9.1", "::1", "[::1]", "::ffff:127.0.0.1", "/var/run/postgresql"] {
            assert_eq!(choice(host, None, false), Some(Transport::Plain { warn: false }), "{host}");
        }
        assert_eq!(choice("postgres", None, false), Some(Transport::Plain { warn: true }));
        for host in ["db.example.com", "10.0.0.5", "2001:db8::1", "localhost.example.com", "8.8.8.8"] {
            assert_eq!(choice(host, None, false), Some(Transport::Tls(Verification::ChainAndName)), "{host}");
            assert_eq!(choice(host, None, true), Some(Transport::Tls(Verification::ChainAndName)), "{host}");
        }
    }

    #[test]
    fn a_mode_that_lets_anyone_answer_needs_a_stated_yes_and_the_refusal_names_it() {
        for mode in [SslMode::Disable, SslMode::Require] {
            let refusal = choose_transport(&postgres("db.example.com", Some(mode)), false).unwrap_err().to_string();
            assert!(refusal.contains("security.allow_plaintext"), "{refusal}");
            assert!(choice("db.example.com", Some(mode), true).is_some());
            assert!(choice("postgres", Some(mode), false).is_some());
        }
        assert_eq!(
            choice("localhost", Some(SslMode::VerifyFull), false),
            Some(Transport::Tls(Verification::ChainAndName)),
            "what was asked for is not weakened on loopback"
        );
    }

    #[test]
    fn certificates_that_cannot_be_read_are_named() {
        let mut settings = postgres("db.example.com", None).tls;
        settings.root_cert = Some("/nonexistent/root.pem".into());
        let error = client_config(&settings, Verification::ChainAndName).unwrap_err();
        assert!(error.to_string().contains("postgres.sslrootcert"), "{error}");
        settings.root_cert = None;
        settings.cert = Some("/nonexistent/cert.pem".into());
        let error = client_config(&settings, Verification::None).unwrap_err();
        assert!(error.to_string().contains("both"), "{error}");
    }
}
