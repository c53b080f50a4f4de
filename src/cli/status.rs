//! The status server around a streaming command.

use std::sync::Arc;

use super::args::StatusPort;
use super::session::Session;
use crate::config::Settings;
use crate::error::Result;
use crate::pipeline::Stop;
use crate::pipeline::monitor::Monitor;
use crate::serve::{Role, Server, Setup};

/// The flag is a setting: it stands above file and environment in the same way, and is checked the same.
pub fn flags(port: Option<StatusPort>) -> Vec<String> {
    match port {
        None => Vec::new(),
        Some(StatusPort::Off) => vec!["status.enabled=false".to_owned()],
        Some(StatusPort::Port(port)) => vec!["status.enabled=true".to_owned(), format!("status.port={port}")],
    }
}

/// Starts the server unless it is switched off. The page is there before the services are, to say who is waited for.
pub fn start(
    settings: &Arc<Settings>,
    role: Role,
    session: &Session,
    monitor: &Monitor,
    stop: &Stop,
) -> Option<Server> {
    if settings.status.enabled == Some(false) {
        return None;
    }
    Server::start(Setup {
        settings: Arc::clone(settings),
        role,
        run_id: session.run_id.clone(),
        monitor: monitor.clone(),
        stop: Some(stop.clone()),
    })
}

/// Ends it with what the run came to, which is handed on.
pub fn end<T>(server: Option<Server>, result: Result<T>) -> Result<T> {
    if let Some(server) = server {
        server.end(result.as_ref().err());
    }
    result
}
