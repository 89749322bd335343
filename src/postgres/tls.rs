//! TLS as libpq's `sslmode` means it (PostgreSQL manual, "SSL Support"): `require` encrypts and
//! trusts whoever answers, unless there is a file of trusted authorities; `verify-ca` wants the
//! certificate of one of these; `verify-full` wants it for the name of the host too.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName, UnixTime,
};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::asn1::{Ia5StringRef, PrintableStringRef, Utf8StringRef};
use x509_cert::der::oid::db::rfc4519::CN;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::PostgresError;
use super::address::Address;

/// The value of `sslrootcert` that stands for the authorities of the system.
pub(super) const SYSTEM: &str = "system";

/// How strictly a server's certificate is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    /// Not at all.
    Nothing,
    /// It is of a trusted authority.
    Authority,
    /// It is for the name of the host too.
    Name,
}

/// The file in which this system keeps the certificates of authorities, where it has one.
pub(super) fn system_file() -> Option<PathBuf> {
    let stated = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let known = [
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/cert.pem",
    ];
    stated.into_iter().chain(known.map(PathBuf::from)).find(|path| path.is_file())
}

/// What a connection to one host is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Without TLS.
    Plain,
    /// With TLS where the server has it.
    Preferred,
    /// With TLS only.
    Encrypted,
}

/// The ways to try, in their order. `sslmode` means nothing for a socket of the machine.
pub(super) fn ways(mode: &str, socket: bool) -> &'static [Way] {
    match mode {
        _ if socket => &[Way::Plain],
        "disable" => &[Way::Plain],
        "allow" => &[Way::Plain, Way::Encrypted],
        "prefer" => &[Way::Preferred, Way::Plain],
        _ => &[Way::Encrypted],
    }
}

/// Makes the client's side of TLS for an address.
pub(super) fn client(address: &Address, mode: &str) -> Result<ClientConfig, PostgresError> {
    let failed = |detail: String| PostgresError::Tls(detail);
    let root = address.path("sslrootcert");
    let check = match mode {
        "verify-full" => Check::Name,
        "verify-ca" => Check::Authority,
        // As libpq does, for the sake of old habits.
        "require" if root.is_some() => Check::Authority,
        _ => Check::Nothing,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions: Vec<_> = [&rustls::version::TLS12, &rustls::version::TLS13]
        .into_iter()
        .filter(|version| {
            let newest = version.version == rustls::ProtocolVersion::TLSv1_3;
            let least = address.get("ssl_min_protocol_version");
            let most = address.get("ssl_max_protocol_version");
            if newest { most != Some("TLSv1.2") } else { least != Some("TLSv1.3") }
        })
        .collect();
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions)
        .map_err(|error| failed(error.to_string()))?;
    let verifier = verifier(address, check, root, provider)?;
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match own_certificate(address)? {
        Some((chain, key)) => builder
            .with_client_auth_cert(chain, key)
            .map_err(|error| failed(format!("sslcert and sslkey do not fit: {error}")))?,
        None => builder.with_no_client_auth(),
    };
    config.enable_sni = address.switch("sslsni").unwrap_or(true);
    if address.get("sslnegotiation") == Some("direct") {
        config.alpn_protocols = vec![b"postgresql".to_vec()];
    }
    Ok(config)
}

fn verifier(
    address: &Address,
    check: Check,
    root: Option<PathBuf>,
    provider: Arc<CryptoProvider>,
) -> Result<Verifier, PostgresError> {
    let mut verifier =
        Verifier { check, trusted: Vec::new(), inner: None, provider: Arc::clone(&provider) };
    if check == Check::Nothing {
        return Ok(verifier);
    }
    let mut roots = RootCertStore::empty();
    match root {
        Some(path) if path != Path::new(SYSTEM) => {
            for certificate in certificates(&path)? {
                // What webpki cannot read as an authority may still be the server's very own.
                let _ = roots.add(certificate.clone());
                verifier.trusted.push(certificate);
            }
        }
        // libpq refuses `verify-full` without a file; the authorities of the system are as good.
        _ if check == Check::Name => {
            let native = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(native.certs);
        }
        _ => {
            return Err(PostgresError::Tls(
                "sslmode=verify-ca needs the file of the authority: sslrootcert=FILE; \
                 sslmode=verify-full takes those of the system without it"
                    .to_owned(),
            ));
        }
    }
    if roots.is_empty() {
        if verifier.trusted.is_empty() {
            return Err(PostgresError::Tls("there are no certificates to trust".to_owned()));
        }
        return Ok(verifier);
    }
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .with_crls(revocation_lists(address)?)
        .build()
        .map_err(|error| PostgresError::Tls(error.to_string()))?;
    verifier.inner = Some(inner);
    Ok(verifier)
}

/// The certificates of a file.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PostgresError> {
    let failed = |detail: String| PostgresError::Tls(format!("{}: {detail}", path.display()));
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let read: Vec<_> =
        read.map_err(|error: rustls::pki_types::pem::Error| failed(error.to_string()))?;
    if read.is_empty() {
        return Err(failed("the file holds no certificate".to_owned()));
    }
    Ok(read)
}

/// Lists of revoked certificates. A file that is not there is none, as for libpq.
fn revocation_lists(
    address: &Address,
) -> Result<Vec<CertificateRevocationListDer<'static>>, PostgresError> {
    let mut files: Vec<PathBuf> = address.path("sslcrl").into_iter().collect();
    if let Some(folder) = address.path("sslcrldir") {
        let failed =
            |error: std::io::Error| PostgresError::Tls(format!("{}: {error}", folder.display()));
        for entry in fs::read_dir(&folder).map_err(failed)? {
            files.push(entry.map_err(failed)?.path());
        }
    }
    let mut lists = Vec::new();
    for file in files.iter().filter(|file| file.is_file()) {
        let read = CertificateRevocationListDer::pem_file_iter(file).and_then(Iterator::collect);
        let read: Vec<_> = read.map_err(|error: rustls::pki_types::pem::Error| {
            PostgresError::Tls(format!("{}: {error}", file.display()))
        })?;
        lists.extend(read);
    }
    Ok(lists)
}

/// The certificate by which docferry says who it is.
type OwnCertificate = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn own_certificate(address: &Address) -> Result<Option<OwnCertificate>, PostgresError> {
    let Some(path) = address.path("sslcert").filter(|path| path.is_file()) else {
        return match address.path("sslcert") {
            Some(path) if address.get("sslcertmode") != Some("disable") => {
                Err(PostgresError::Tls(format!("sslcert: there is no file {}", path.display())))
            }
            _ => Ok(None),
        };
    };
    if address.get("sslcertmode") == Some("disable") {
        return Ok(None);
    }
    let Some(key) = address.path("sslkey") else {
        return Err(PostgresError::Tls(
            "sslcert is docferry's own certificate and needs sslkey=FILE; the certificate that the \
             server is checked with is sslrootcert=FILE"
                .to_owned(),
        ));
    };
    let read = PrivateKeyDer::from_pem_file(&key).map_err(|error| {
        let encrypted = fs::read_to_string(&key).is_ok_and(|text| text.contains("ENCRYPTED"));
        let detail = if encrypted {
            "it is encrypted; `openssl pkey -in FILE -out FILE` writes it without a password"
                .to_owned()
        } else {
            error.to_string()
        };
        PostgresError::Tls(format!("sslkey {}: {detail}", key.display()))
    })?;
    Ok(Some((certificates(&path)?, read)))
}

/// Looks at the certificate of a server.
struct Verifier {
    check: Check,
    /// Certificates of the file, any of which may be the server's own.
    trusted: Vec<CertificateDer<'static>>,
    inner: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Verifier").field("check", &self.check).finish_non_exhaustive()
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.check == Check::Nothing {
            return Ok(ServerCertVerified::assertion());
        }
        let own = self.trusted.iter().any(|trusted| trusted == end_entity);
        let answer = if own {
            // A certificate that signs itself is its own authority.
            check_period(end_entity, now)?;
            match self.check {
                Check::Name => check_name(end_entity, server_name),
                _ => Ok(()),
            }
        } else {
            let unknown = CertificateError::UnknownIssuer;
            let inner = self.inner.as_ref().ok_or(rustls::Error::InvalidCertificate(unknown))?;
            let verified = inner.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            );
            // The name is what webpki looks at last.
            verified.map(|_| ())
        };
        match answer {
            Err(error) if is_about_name(&error) => {
                if self.check == Check::Authority || common_name_fits(end_entity, server_name) {
                    Ok(ServerCertVerified::assertion())
                } else {
                    Err(error)
                }
            }
            Err(error) => Err(error),
            Ok(()) => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if self.check == Check::Nothing {
            // Whoever answers is trusted: a signature by a key that anybody may have made says
            // nothing, and certificates of old versions cannot be read here.
            return Ok(HandshakeSignatureValid::assertion());
        }
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if self.check == Check::Nothing {
            return Ok(HandshakeSignatureValid::assertion());
        }
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn is_about_name(error: &rustls::Error) -> bool {
    matches!(
        error,
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
        )
    )
}

fn check_name(
    certificate: &CertificateDer<'_>,
    name: &ServerName<'_>,
) -> Result<(), rustls::Error> {
    verify_server_name(&ParsedCertificate::try_from(certificate)?, name)
}

fn check_period(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), rustls::Error> {
    let invalid = |error| Err(rustls::Error::InvalidCertificate(error));
    let Ok(read) = Certificate::from_der(certificate) else {
        return invalid(CertificateError::BadEncoding);
    };
    let validity = read.tbs_certificate.validity;
    if now.as_secs() < validity.not_before.to_unix_duration().as_secs() {
        return invalid(CertificateError::NotValidYet);
    }
    if now.as_secs() > validity.not_after.to_unix_duration().as_secs() {
        return invalid(CertificateError::Expired);
    }
    Ok(())
}

/// Whether the common name of a certificate is that of the host. It counts where no other name of
/// a host is in it, as libpq has it.
fn common_name_fits(certificate: &CertificateDer<'_>, name: &ServerName<'_>) -> bool {
    let Ok(read) = Certificate::from_der(certificate) else { return false };
    let names = match read.tbs_certificate.get::<SubjectAltName>() {
        Ok(Some((_, names))) => names.0,
        Ok(None) => Vec::new(),
        Err(_) => return false,
    };
    if names.iter().any(|name| matches!(name, GeneralName::DnsName(_) | GeneralName::IpAddress(_)))
    {
        return false;
    }
    let wanted = name.to_str();
    let attributes = read.tbs_certificate.subject.0.iter().flat_map(|relative| relative.0.iter());
    attributes.filter(|attribute| attribute.oid == CN).any(|attribute| {
        let value = &attribute.value;
        let text = value
            .decode_as::<Utf8StringRef<'_>>()
            .map(|text| text.as_str().to_owned())
            .or_else(|_| {
                value.decode_as::<PrintableStringRef<'_>>().map(|text| text.as_str().to_owned())
            })
            .or_else(|_| {
                value.decode_as::<Ia5StringRef<'_>>().map(|text| text.as_str().to_owned())
            });
        text.is_ok_and(|text| is_name(&text, &wanted))
    })
}

/// Whether a name of a certificate, with `*` as its first label or without, is that of a host.
fn is_name(pattern: &str, host: &str) -> bool {
    if pattern.eq_ignore_ascii_case(host) {
        return true;
    }
    let Some(domain) = pattern.strip_prefix('*').filter(|domain| domain.starts_with('.')) else {
        return false;
    };
    let rest = host.find('.').map(|at| host.split_at(at));
    rest.is_some_and(|(label, rest)| !label.is_empty() && rest.eq_ignore_ascii_case(domain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_certificates_fit_hosts() {
        for (pattern, host, fits) in [
            ("db.example.com", "db.example.com", true),
            ("DB.Example.com", "db.example.COM", true),
            ("*.example.com", "db.example.com", true),
            ("*.example.com", "a.db.example.com", false),
            ("*.example.com", "example.com", false),
            ("*.example.com", ".example.com", false),
            ("*", "db", false),
            ("d*.example.com", "db.example.com", false),
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
        ] {
            assert_eq!(is_name(pattern, host), fits, "{pattern} {host}");
        }
    }

    #[test]
    fn modes_are_tried_in_the_order_of_libpq() {
        for (mode, expected) in [
            ("disable", &[Way::Plain][..]),
            ("allow", &[Way::Plain, Way::Encrypted]),
            ("prefer", &[Way::Preferred, Way::Plain]),
            ("require", &[Way::Encrypted]),
            ("verify-ca", &[Way::Encrypted]),
            ("verify-full", &[Way::Encrypted]),
        ] {
            assert_eq!(ways(mode, false), expected, "{mode}");
            assert_eq!(ways(mode, true), [Way::Plain], "{mode}");
        }
    }
}
