//! The whole gateway under callgrind: one worker, one client that asks again and again, an origin that answers. What a
//! request takes is the difference of two runs of different lengths, divided by the requests between them.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use portcullis_e2e::origin::Origin;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::callgrind;
use crate::side::contestant::{Contestant, Kind, Running, Stage, start_under};
use crate::side::scenario::{Load, SMALL, Scenario, Work};

/// What is counted.
pub const CASES: [Case; 5] = [
    Case::new("pass", SMALL, 65),
    Case::new(
        "guard",
        Scenario {
            work: Work::Guard,
            ..SMALL
        },
        65,
    ),
    Case::new("pass-16k", SMALL, 16 * 1024),
    Case::new(
        "connect",
        Scenario {
            load: Load::OneRequest,
            ..SMALL
        },
        65,
    ),
    Case::new("tls-h1", Scenario { tls: true, ..SMALL }, 65),
];

/// Requests of the short run: everything that happens once has happened.
const SHORT: u64 = 300;
/// Requests that the long run has more.
const MORE: u64 = 1_500;

/// A way to ask.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// Its name in the baseline.
    pub name: &'static str,
    scenario: Scenario,
    body: usize,
}

impl Case {
    const fn new(name: &'static str, scenario: Scenario, body: usize) -> Self {
        Self { name, scenario, body }
    }

    /// Instructions that a request takes; the long run's file stays in `dir`.
    pub fn count(&self, program: &Path, stage: &Stage, dir: &Path) -> u64 {
        let short = self.run(program, stage, dir, SHORT);
        let long = self.run(program, stage, dir, SHORT + MORE);
        long.saturating_sub(short) / MORE
    }

    fn run(&self, program: &Path, stage: &Stage, dir: &Path, requests: u64) -> u64 {
        let body = "x".repeat(self.body);
        let origin = Origin::start(&body);
        let contestant = Contestant {
            name: "portcullis".to_owned(),
            kind: Kind::Portcullis,
            program: program.to_owned(),
        };
        let under = (PathBuf::from("valgrind"), callgrind::arguments(dir));
        let running = start_under(
            0,
            &contestant,
            &self.scenario,
            stage,
            origin.address,
            "0-255",
            Some(&under),
        );
        self.ask(&running, stage, requests)
            .unwrap_or_else(|error| panic!("{}: {error}\n{}", self.name, running.server.said()));
        running.server.leave();
        callgrind::instructions(dir)
    }

    fn ask(&self, running: &Running, stage: &Stage, requests: u64) -> io::Result<()> {
        let close = self.scenario.load == Load::OneRequest;
        let request = format!(
            "GET /small?page=2 HTTP/1.1\r\nHost: localhost\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
             Accept: application/json\r\nAccept-Encoding: gzip, br\r\nAuthorization: Bearer {}\r\n{}\r\n",
            stage.token,
            if close { "Connection: close\r\n" } else { "" }
        );
        let mut connection = self.connect(running.address, stage)?;
        for number in 0..requests {
            if close && number > 0 {
                connection = self.connect(running.address, stage)?;
            }
            connection.write_all(request.as_bytes())?;
            self.read_answer(&mut *connection)?;
        }
        Ok(())
    }

    fn connect(&self, address: SocketAddr, stage: &Stage) -> io::Result<Box<dyn Stream>> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        if !self.scenario.tls {
            return Ok(Box::new(stream));
        }
        let mut roots = RootCertStore::empty();
        roots.add(stage.authority()).map_err(io::Error::other)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?;
        let config = builder.with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        let client = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
        Ok(Box::new(StreamOwned::new(client, stream)))
    }

    fn read_answer(&self, stream: &mut dyn Stream) -> io::Result<()> {
        let mut answer = Vec::new();
        let mut chunk = [0; 16 * 1024];
        loop {
            let count = stream.read(&mut chunk)?;
            answer.extend_from_slice(chunk.get(..count).unwrap_or_default());
            let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
            if end.is_some_and(|end| answer.len() >= end + 4 + self.body) {
                break;
            }
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        if answer.starts_with(b"HTTP/1.1 200 ") {
            return Ok(());
        }
        Err(io::Error::other(String::from_utf8_lossy(&answer).into_owned()))
    }
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// Instructions for each run of a piece: the difference of two runs of the program `pieces`.
pub fn count_piece(program: &Path, name: &str, short: u64, more: u64, dir: &Path) -> u64 {
    let run = |times: u64| {
        let status = Command::new("valgrind")
            .args(callgrind::arguments(dir))
            .arg(program)
            .args([name, &times.to_string()])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("valgrind starts");
        assert!(status.success(), "{name} under valgrind");
        callgrind::instructions(dir)
    };
    let first = run(short);
    run(short + more).saturating_sub(first) / more
}
