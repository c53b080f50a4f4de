//! The end of a run: the server ends with it, and never keeps it.

use std::io::ErrorKind;
use std::sync::mpsc;

use super::*;

/// Whether the server's thread takes a request and answers it soon.
fn answers_soon(address: &str) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    stream.read(&mut [0; 64]).is_ok_and(|count| count > 0)
}

#[test]
fn at_the_end_the_address_is_free_and_the_folder_clean() {
    let (server, folder) = server(json!({}));
    let address = address(&server);
    assert!(folder.path().join("checkpoint_status").exists());
    server.end(None);
    assert_eq!(TcpStream::connect(&address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    assert!(!folder.path().join("checkpoint_status").exists());
}

#[test]
fn a_server_that_does_not_end_keeps_no_run() {
    let (server, _folder) = server(json!({}));
    let (address, shared) = (address(&server), Arc::clone(&server.shared));
    eventually(|| answers_soon(&address));
    // Its thread wants this once a second, and stands still without.
    let held = shared.history();
    eventually(|| !answers_soon(&address));
    let (ended, waiting) = mpsc::channel();
    let ending = std::thread::spawn(move || {
        server.end(None);
        ended.send(()).unwrap();
    });
    waiting.recv_timeout(PATIENCE).expect("the end of the run waits for the server's thread for ever");
    ending.join().unwrap();
    drop(held);
    eventually(|| TcpStream::connect(&address).is_err());
}
