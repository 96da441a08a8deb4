//! The configuration of a server from two files, and its errors.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use backport::tls::server_config;
use backport::{Machine, TcpServer};

use crate::support::Echo;
use crate::tls_peer::{identity, tcp, Identity, TlsPeer};

/// A folder of files, which is removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("backport-tls-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

#[test]
fn a_server_uses_the_certificate_and_the_key_of_two_files() {
    let folder = Folder::new("pair");
    let certificate = folder.file("certificate.pem", &identity().certificate_pem);
    let key = folder.file("key.pem", &identity().key_pem);
    let both = folder.file("both.pem", format!("{}{}", identity().key_pem, identity().certificate_pem));
    for (certificate, key) in [(&certificate, &key), (&both, &both)] {
        let machine = Machine::new();
        let server = TcpServer::new("127.0.0.1:0", || Echo).tls(server_config(certificate, key).unwrap());
        let server = machine.prepare(server).unwrap();
        let running = machine.start().unwrap();
        TlsPeer::over(tcp(server.local_addr()), identity().client()).assert_echo(b"hello");
        running.stop().unwrap();
    }
}

#[test]
fn each_error_names_the_file_and_says_what_is_wrong_with_it() {
    let folder = Folder::new("errors");
    let certificate = folder.file("good-certificate.pem", &identity().certificate_pem);
    let key = folder.file("good-key.pem", &identity().key_pem);
    let other = folder.file("other-key.pem", Identity::new().key_pem);
    let two = folder.file("two-keys.pem", format!("{0}{0}", identity().key_pem));
    let encrypted = folder.file(
        "encrypted-key.pem",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIC\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    let damaged = folder.file("damaged.pem", "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n");
    let cut = folder.file("cut.pem", &identity().certificate_pem[..100]);
    let nonsense =
        folder.file("nonsense.pem", "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n");
    let bare = folder.file("bare.der", &identity().certificate);
    let empty = folder.file("empty.pem", "");
    let missing = folder.0.join("missing.pem");
    let check = |certificate: &Path, key: &Path, kind: ErrorKind, wrong: &Path, words: &str| {
        let error = server_config(certificate, key).expect_err(words);
        let message = error.to_string();
        assert_eq!(error.kind(), kind, "{message}");
        assert!(message.contains(wrong.to_str().unwrap()), "{message}");
        assert!(message.contains(words), "{message} has no {words:?}");
    };
    use ErrorKind::{InvalidData, NotFound};
    check(&missing, &key, NotFound, &missing, "cannot read");
    check(&certificate, &missing, NotFound, &missing, "cannot read");
    check(&key, &key, InvalidData, &key, "holds no certificate (found: PRIVATE KEY)");
    check(&certificate, &certificate, InvalidData, &certificate, "no private key (found: CERTIFICATE)");
    check(&certificate, &encrypted, InvalidData, &encrypted, "is encrypted; decrypt it with: openssl pkey");
    check(&certificate, &two, InvalidData, &two, "holds 2 private keys, it must hold one");
    check(&certificate, &other, InvalidData, &other, "does not belong to the first certificate in");
    check(&damaged, &key, InvalidData, &damaged, "is damaged");
    check(&cut, &key, InvalidData, &cut, "is damaged");
    check(&nonsense, &key, InvalidData, &nonsense, "cannot use the certificate");
    check(&bare, &key, InvalidData, &bare, "it is not in PEM format");
    check(&empty, &key, InvalidData, &empty, "it is not in PEM format");
}
