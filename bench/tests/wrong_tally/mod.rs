//! A `tally` that answers wrongly: the real one, behind a proxy that replaces bytes of the read API's answers.

use std::fs::Permissions;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

pub(crate) struct WrongTally {
    directory: TempDir,
}

impl WrongTally {
    /// Replaces `right` by `wrong`, which is as long.
    pub(crate) fn new(tally: &Path, right: &'static [u8], wrong: &'static [u8]) -> Self {
        assert_eq!(right.len(), wrong.len());
        let upstream = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("tally");
        std::fs::write(&program, script(tally, upstream, proxy.local_addr().unwrap())).unwrap();
        std::fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
        std::thread::spawn(move || {
            for client in proxy.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(upstream) else { continue };
                let (requests, answers) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || copy(requests, server, b"", b""));
                std::thread::spawn(move || copy(answers, client, right, wrong));
            }
        });
        Self { directory }
    }

    pub(crate) fn program(&self) -> PathBuf {
        self.directory.path().join("tally")
    }
}

/// Becomes the real program, which reads on `upstream` but says that it reads on `proxy`.
fn script(tally: &Path, upstream: SocketAddr, proxy: SocketAddr) -> String {
    let tally = tally.display();
    format!(
        "#!/bin/bash\n\
         arguments=() option=\n\
         for argument; do\n\
         [ \"$option\" = --read-addr ] && argument={upstream}\n\
         arguments+=(\"$argument\") option=$argument\n\
         done\n\
         exec '{tally}' \"${{arguments[@]}}\" 2> >(exec sed -u 's#reads on http://[^,]*#reads on http://{proxy}#' >&2)\n"
    )
}

/// Copies until one side ends. The parts of an answer are not joined: it comes in one where it is short.
fn copy(mut from: TcpStream, mut to: TcpStream, right: &[u8], wrong: &[u8]) {
    let mut part = [0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut part) {
        let bytes = &mut part[..count];
        if !right.is_empty() {
            for start in 0..bytes.len().saturating_sub(right.len() - 1) {
                let place = &mut bytes[start..start + right.len()];
                if *place == *right {
                    place.copy_from_slice(wrong);
                }
            }
        }
        if to.write_all(bytes).is_err() {
            break;
        }
    }
    drop(to.shutdown(std::net::Shutdown::Both));
}
