//! The address: the configured port, or the next free one from 4040.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, ToSocketAddrs};

use crate::config::{Status, defaults};

/// A bound socket that nobody accepts from yet.
#[derive(Debug)]
pub struct Listening {
    pub socket: TcpListener,
    pub address: SocketAddr,
}

impl Listening {
    /// # Errors
    /// In words: what could not be listened on, and the way out.
    pub fn open(status: &Status) -> Result<Listening, String> {
        let ip = resolve(&status.host)?;
        let socket = match status.port {
            Some(port) => TcpListener::bind((ip, port)).map_err(|error| refused(ip, port, &error))?,
            None => bind_next_free(ip).map_err(|error| refused(ip, 0, &error))?,
        };
        let failed = |error: io::Error| format!("the socket at {ip} cannot be used: {error}");
        socket.set_nonblocking(true).map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        Ok(Listening { socket, address })
    }

    pub fn is_loopback(&self) -> bool {
        self.address.ip().is_loopback()
    }

    /// What to open in a browser on this machine.
    pub fn url(&self) -> String {
        let (ip, port) = (self.address.ip(), self.address.port());
        match ip {
            ip if ip.is_unspecified() => format!("http://127.0.0.1:{port}/"),
            IpAddr::V6(ip) => format!("http://[{ip}]:{port}/"),
            IpAddr::V4(ip) => format!("http://{ip}:{port}/"),
        }
    }
}

fn resolve(host: &str) -> Result<IpAddr, String> {
    let unknown = |error: String| format!("status.host is {host}, which has no address here: {error}");
    let bare = host.trim_matches(['[', ']']);
    if let Ok(ip) = bare.parse() {
        return Ok(ip);
    }
    let mut found = (bare, 0).to_socket_addrs().map_err(|error| unknown(error.to_string()))?;
    found.next().map(|address| address.ip()).ok_or_else(|| unknown("none".to_owned()))
}

fn bind_next_free(ip: IpAddr) -> io::Result<TcpListener> {
    defaults::STATUS_PORTS
        .map(|port| TcpListener::bind((ip, port)))
        .find(|bound| !matches!(bound, Err(error) if error.kind() == io::ErrorKind::AddrInUse))
        .unwrap_or_else(|| TcpListener::bind((ip, 0)))
}

fn refused(ip: IpAddr, port: u16, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("port {port} of {ip} is taken; name another with --status-port, or leave it out for a free one")
        }
        _ => format!("port {port} of {ip} cannot be listened on: {error}"),
    }
}
