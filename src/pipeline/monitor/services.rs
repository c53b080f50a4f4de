//! The services a run works with, as its own calls find them.

use chrono::{DateTime, Utc};

use crate::clock::{Clock, SystemClock};
use crate::error::Kind;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    Postgres,
    Kafka,
    Lake,
}

impl Service {
    pub fn name(self) -> &'static str {
        match self {
            Service::Postgres => "postgres",
            Service::Kafka => "kafka",
            Service::Lake => "lake",
        }
    }

    /// The service that an error of this kind comes from.
    pub fn of(kind: Kind) -> Option<Service> {
        match kind {
            Kind::Source => Some(Service::Postgres),
            Kind::Broker => Some(Service::Kafka),
            Kind::Lake => Some(Service::Lake),
            _ => None,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServiceSight {
    /// `None`: not asked yet.
    pub up: Option<bool>,
    pub since: Option<DateTime<Utc>>,
    /// Of the last failed call, while it is away.
    pub error: Option<String>,
    /// Calls that failed since the start.
    pub errors: u64,
}

impl ServiceSight {
    pub(super) fn answered(&mut self) {
        self.become_(true);
        self.error = None;
    }

    pub(super) fn failed(&mut self, error: String) {
        self.become_(false);
        self.errors += 1;
        self.error = Some(error);
    }

    fn become_(&mut self, up: bool) {
        if self.up != Some(up) {
            self.up = Some(up);
            self.since = Some(SystemClock.now());
        }
    }
}
