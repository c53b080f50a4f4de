//! What streaming commands have in common: how long they wait, and where they can be looked at.

use std::time::Duration;

use clap::Args;

use super::values::parse_seconds;

/// Longest wait of a bounded run for transactions that are still open: longer than Kafka's and most
/// databases' own limits of a minute.
const DEFAULT_ONCE_WAIT: &str = "90";

#[derive(Clone, Copy, Debug, Args)]
pub struct Waits {
    /// Stop cleanly after this time
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    pub timeout: Option<Duration>,
    /// How long a run with --once waits for open transactions before it gives up with exit code 75
    #[arg(long, value_name = "SECONDS", default_value = DEFAULT_ONCE_WAIT, value_parser = parse_seconds)]
    pub once_wait: Duration,
}

#[derive(Clone, Copy, Debug, Args)]
pub struct StatusArgs {
    /// Port of the status page: a number, 0 for any free one, or off [default: the next free one from 4040]
    #[arg(long, value_name = "PORT", value_parser = parse_port)]
    pub status_port: Option<StatusPort>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusPort {
    Off,
    Port(u16),
}

fn parse_port(text: &str) -> Result<StatusPort, String> {
    match text {
        "off" => Ok(StatusPort::Off),
        number => {
            number.parse().map(StatusPort::Port).map_err(|_| "give a port, 0 for any free one, or off".to_owned())
        }
    }
}
