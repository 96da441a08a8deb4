//! `openssl s_client`, a client that is not rustls.

use std::io::{BufRead, Read};
use std::process::{Command, Output, Stdio};

use backport::framing::Lines;
use backport::{Adapter, Client, Input, Result};

use crate::support::child::has;
use crate::support::{in_time, serve_tcp_with, Echo, Watch};
use crate::tls_peer::identity;

/// Mail delivery (SMTP), as far as it comes before a mail.
#[derive(Default)]
struct Smtp {
    greeted: bool,
}

impl Smtp {
    /// Answers one command. Returns `false` after the last.
    fn answer(&mut self, client: &Client, line: &str) -> Result<bool> {
        let line = line.trim_end().to_ascii_uppercase();
        match line.split(' ').next().unwrap_or_default() {
            "EHLO" if client.tls().is_some() => client.write("250-mail\r\n250 HELP\r\n")?,
            "EHLO" => client.write("250-mail\r\n250 STARTTLS\r\n")?,
            "STARTTLS" => {
                client.write("220 go ahead\r\n")?;
                client.start_tls()?;
            }
            "NOOP" => client.write(format!("250 encrypted: {}\r\n", client.tls().is_some()))?,
            "QUIT" => {
                client.write("221 bye\r\n")?;
                return Ok(false);
            }
            _ => client.write("500 what?\r\n")?,
        }
        Ok(true)
    }
}

/// With frames.
impl Adapter for Smtp {
    fn receiving(&mut self, client: &Client, line: &[u8]) -> Result {
        if !self.answer(client, &String::from_utf8_lossy(line))? {
            client.close();
        }
        Ok(())
    }

    fn opening(&mut self, client: &Client) -> Result {
        self.greeted = true;
        Ok(client.write("220 mail ESMTP\r\n")?)
    }
}

/// In straight-line code.
#[derive(Default)]
struct Straight(Smtp);

impl Adapter for Straight {
    fn serving(&mut self, client: &Client, input: &mut Input) -> Result {
        self.0.opening(client)?;
        loop {
            let mut line = String::new();
            if (&mut *input).take(1000).read_line(&mut line)? == 0 || !self.0.answer(client, &line)? {
                return Ok(());
            }
        }
    }
}

/// Runs `openssl s_client` with this input.
fn s_client(arguments: &[&str], input: &'static str) -> Output {
    use std::io::Write;
    let mut command = Command::new("openssl");
    command.args(["s_client", "-quiet", "-verify_quiet"]).args(arguments);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(input.as_bytes()).unwrap();
    // Its input stays open, so the server ends the conversation.
    let stdin = child.stdin.take();
    let output = in_time("the end of openssl", move || child.wait_with_output().unwrap());
    drop(stdin);
    output
}

#[test]
fn openssl_switches_to_tls_with_an_adapter_of_frames_and_one_in_straight_lines() {
    if !has_openssl() {
        return;
    }
    fn check<A: Adapter>(factory: impl Fn() -> A + Send + Sync + 'static) {
        let watch = Watch::new();
        let watched = watch.clone();
        let served = serve_tcp_with(
            move || watched.around_serving(factory()),
            |server| server.start_tls(identity().server()),
        );
        let address = served.address().to_string();
        for version in ["-tls1_2", "-tls1_3"] {
            let arguments = ["-connect", &address, "-starttls", "smtp", version, "-crlf"];
            let output = s_client(&arguments, "EHLO me\nNOOP\nQUIT\n");
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(
                text.ends_with("250-mail\r\n250 HELP\r\n250 encrypted: true\r\n221 bye\r\n"),
                "{text} {}",
                String::from_utf8_lossy(&output.stderr)
            );
            assert_eq!(crate::support::next(&watch.closed), "ByServer");
        }
    }
    check(|| Smtp::default().framed(Lines::default()));
    check(Straight::default);
}

#[test]
fn openssl_sees_the_end_of_tls_at_a_stop() {
    if !has_openssl() {
        return;
    }
    for version in ["-tls1_2", "-tls1_3"] {
        let served = serve_tcp_with(|| Echo, |server| server.tls(identity().server()));
        let (address, handle) = (served.address().to_string(), served.server.clone());
        let client = std::thread::spawn(move || s_client(&["-connect", &address, version], "hello\n"));
        crate::support::eventually("the echo", || handle.stats().bytes_out == 6);
        served.stop().unwrap();
        let output = client.join().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.stdout, b"hello\n", "{errors}");
        // It says "unexpected eof while reading" if there was no end of TLS.
        assert!(output.status.success() && !errors.contains("eof"), "{errors}");
    }
}

/// `openssl --version` is not an option of all versions.
fn has_openssl() -> bool {
    let there = Command::new("openssl").arg("version").stdout(Stdio::null()).status();
    there.is_ok_and(|status| status.success()) || has("openssl")
}
