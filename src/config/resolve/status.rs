//! The `status` section.

use std::net::IpAddr;

use secrecy::SecretString;

use super::{Checked, Resolver, narrowed, seconds};
use crate::config::defaults;
use crate::config::raw::RawStatus;
use crate::config::settings::Status;

impl Resolver<'_> {
    pub(super) fn status(&self, raw: &RawStatus) -> Checked<Status> {
        let host = self.word("status.host", raw.host.as_ref())?.unwrap_or_else(|| defaults::STATUS_HOST.to_owned());
        let token = self.status_token(raw)?;
        if token.is_none() && !is_loopback(&host) && raw.enabled != Some(false) {
            let fact = format!("`status.host` is {host}, which others can reach, and there is no token");
            let help = "set status.token or status.token_file, or leave status.host at 127.0.0.1";
            return Err(self.problem("status.host", fact).help(help));
        }
        Ok(Status {
            enabled: raw.enabled,
            host,
            port: raw.port.map(narrowed),
            token,
            ready_max_lag: seconds(raw.ready_max_lag_sec.unwrap_or(defaults::READY_MAX_LAG_SEC)),
        })
    }

    fn status_token(&self, raw: &RawStatus) -> Checked<Option<SecretString>> {
        let (key, file_key) = ("status.token", "status.token_file");
        let (token, key) = match (&raw.token, &raw.token_file) {
            (Some(_), Some(_)) => {
                let fact = format!("`{key}` and `{file_key}` are both given");
                return Err(self.problem(file_key, fact).help("remove one of the two"));
            }
            (Some(token), None) => (token.clone(), key),
            (None, Some(path)) => (self.secret_file(file_key, path)?, file_key),
            (None, None) => return Ok(None),
        };
        let fits = token.chars().all(|c| c.is_ascii_graphic()) && token.len() >= defaults::MIN_TOKEN_CHARS;
        if !fits {
            let least = defaults::MIN_TOKEN_CHARS;
            let fact = format!("`{key}` is no token: {least} or more letters, digits and signs, no blanks");
            return Err(self.problem(key, fact).help("make one, for example with `openssl rand -hex 24`"));
        }
        Ok(Some(SecretString::from(token)))
    }
}

/// Only an address or a name that cannot mean another machine.
fn is_loopback(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']);
    host == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
