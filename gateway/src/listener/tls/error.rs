//! What can be wrong with a listener's TLS files. Each text names the file and says what to do.

use std::io;
use std::path::PathBuf;

use portcullis_config::secret::SecretError;

/// Why TLS could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file is not readable.
    #[error("cannot read {file}: {source}; check that it exists and that the gateway's user may read it", file = .file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// No certificate or key file is that large.
    #[error("{file} is larger than {limit} bytes; it should hold one certificate chain or one key as PEM", file = .file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
        /// The most that is read.
        limit: u64,
    },
    /// The file is not PEM, or broken.
    #[error("{file} is broken: {reason}; write it anew as PEM", file = .file.display())]
    Pem {
        /// The file.
        file: PathBuf,
        /// Where it breaks.
        reason: String,
    },
    /// The file holds no certificate.
    #[error("{file} holds no certificate; write the chain to it as PEM, the server's certificate first", file = .file.display())]
    NoCertificate {
        /// The certificate file.
        file: PathBuf,
    },
    /// The file holds no key.
    #[error("{file} holds no private key; write the certificate's key to it as PEM, not encrypted", file = .file.display())]
    NoKey {
        /// The key file.
        file: PathBuf,
    },
    /// The key is encrypted.
    #[error(
        "the key in {file} is encrypted, and there is nobody to ask for its password; decrypt it with `openssl pkey`",
        file = .file.display()
    )]
    EncryptedKey {
        /// The key file.
        file: PathBuf,
    },
    /// The certificate cannot be parsed.
    #[error("{file}: its first certificate is broken: {reason}; have it issued anew", file = .file.display())]
    BadCertificate {
        /// The certificate file.
        file: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The certificate is over.
    #[error("the certificate in {file} expired at {at}; renew it", file = .file.display())]
    Expired {
        /// The certificate file.
        file: PathBuf,
        /// Its end, RFC 3339.
        at: String,
    },
    /// The certificate is not valid yet.
    #[error("the certificate in {file} is valid only from {at}; check the clock of this machine, or wait", file = .file.display())]
    NotYetValid {
        /// The certificate file.
        file: PathBuf,
        /// Its beginning, RFC 3339.
        at: String,
    },
    /// Certificate and key are not of one pair.
    #[error(
        "the key in {key} is not the key of the certificate in {certificate}; replace the one that is out of date",
        key = .key.display(),
        certificate = .certificate.display()
    )]
    Mismatch {
        /// The certificate file.
        certificate: PathBuf,
        /// The key file.
        key: PathBuf,
    },
    /// The key is of a kind or size that we do not use.
    #[error(
        "the key in {file} cannot be used: {reason}; use ECDSA P-256 or P-384, Ed25519, or RSA of 2048 bits and more",
        file = .file.display()
    )]
    UnusableKey {
        /// The key file.
        file: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Nothing can be stapled.
    #[error("{file}: no OCSP answer can be stapled: {reason}", file = .file.display())]
    Ocsp {
        /// The certificate's file, or the answer's.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// The file of authorities holds none.
    #[error("{file} holds no certificate of an authority; write those that sign certificates of clients to it as PEM", file = .file.display())]
    NoAuthority {
        /// The file.
        file: PathBuf,
    },
    /// The file holds no revocation list.
    #[error("{file} holds no certificate revocation list; write it to it as PEM or DER (RFC 5280)", file = .file.display())]
    NoRevocationList {
        /// The file.
        file: PathBuf,
    },
    /// A revocation list cannot be used.
    #[error("a certificate revocation list cannot be used: {reason}; have it issued anew")]
    RevocationLists {
        /// What is wrong.
        reason: String,
    },
    /// The listener lists no certificate.
    #[error("the listener has no certificate; add one under `tls.certificates`")]
    NoCertificates,
    /// No key of tickets could be made.
    #[error("cannot make a key for session tickets: the system gives no random bytes")]
    NoRandom,
    /// A shared key of tickets cannot be had.
    #[error("a key of session tickets cannot be read: {0}")]
    Secret(#[source] SecretError),
    /// A shared key of tickets has another form.
    #[error(
        "{reference} is no key of session tickets: it must be 48 or 80 bytes, raw or base64; \
         make one with `openssl rand -base64 80`"
    )]
    TicketKey {
        /// The reference.
        reference: String,
    },
    /// The parts do not fit together.
    #[error("TLS cannot be set up: {0}")]
    Config(#[source] rustls::Error),
}
