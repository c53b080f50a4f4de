//! Who may ask: on loopback whoever names this machine, elsewhere whoever has the token.

use hyper::header::{AUTHORIZATION, COOKIE, HOST, HeaderMap};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

const COOKIE_NAME: &str = "foodstream_status";

/// The rules of one server.
#[derive(Debug)]
pub struct Access {
    token: Option<Token>,
    /// Only then the name in `Host` is looked at: a web page of somebody else must not reach us under its own name.
    loopback: bool,
}

/// Hashes, so that comparing takes the same time wherever two differ.
#[derive(Debug)]
struct Token {
    hash: [u8; 32],
    cookie: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Allowed,
    /// The request names another machine.
    WrongHost,
    NoToken,
}

impl Access {
    pub fn new(token: Option<&SecretString>, loopback: bool) -> Access {
        let token = token.map(|token| Token {
            hash: hash(token.expose_secret()),
            cookie: hex(&hash(&format!("cookie of {}", token.expose_secret()))),
        });
        Access { token, loopback }
    }

    pub fn judge(&self, headers: &HeaderMap) -> Verdict {
        if self.loopback && !names_this_machine(headers) {
            return Verdict::WrongHost;
        }
        let Some(token) = &self.token else { return Verdict::Allowed };
        let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let bearer = bearer.and_then(|value| value.split_once(' '));
        let by_bearer = bearer
            .is_some_and(|(scheme, given)| scheme.eq_ignore_ascii_case("bearer") && hash(given.trim()) == token.hash);
        let by_cookie = cookies(headers).any(|given| hash(given) == hash(&token.cookie));
        if by_bearer || by_cookie { Verdict::Allowed } else { Verdict::NoToken }
    }

    /// The cookie for a browser that came with this token in the address.
    pub fn cookie_for(&self, given: &str) -> Option<String> {
        let token = self.token.as_ref().filter(|token| hash(given) == token.hash)?;
        Some(format!("{COOKIE_NAME}={}; Path=/; HttpOnly; SameSite=Strict", token.cookie))
    }
}

fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(name, _)| *name == COOKIE_NAME).map(|(_, value)| value)
}

fn names_this_machine(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST).and_then(|host| host.to_str().ok()) else { return false };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn on_loopback_only_names_of_this_machine_are_answered() {
        let access = Access::new(None, true);
        for host in ["localhost:4040", "127.0.0.1:4040", "LOCALHOST", "[::1]:4040", "127.0.0.9"] {
            assert_eq!(access.judge(&headers(&[("host", host)])), Verdict::Allowed, "{host}");
        }
        for host in ["evil.example:4040", "10.0.0.1", "localhost.evil.example", "[::2]:4040", ""] {
            assert_eq!(access.judge(&headers(&[("host", host)])), Verdict::WrongHost, "{host}");
        }
        assert_eq!(access.judge(&HeaderMap::new()), Verdict::WrongHost);
        assert_eq!(Access::new(None, false).judge(&headers(&[("host", "etl-1")])), Verdict::Allowed);
    }

    #[test]
    fn a_token_comes_as_bearer_or_in_the_cookie_made_for_it() {
        let token = SecretString::from("0123456789abcdef");
        let access = Access::new(Some(&token), false);
        let judge = |pairs: &[(&'static str, &str)]| access.judge(&headers(pairs));
        assert_eq!(judge(&[("authorization", "Bearer 0123456789abcdef")]), Verdict::Allowed);
        assert_eq!(judge(&[("authorization", "bearer 0123456789abcdef")]), Verdict::Allowed);
        for wrong in ["Bearer 0123456789abcdeF", "Bearer", "Basic 0123456789abcdef", "0123456789abcdef", "Bearer "] {
            assert_eq!(judge(&[("authorization", wrong)]), Verdict::NoToken, "{wrong}");
        }
        assert_eq!(judge(&[]), Verdict::NoToken);
        assert_eq!(access.cookie_for("0123456789abcdeF"), None);
        let cookie = access.cookie_for("0123456789abcdef").unwrap();
        assert!(cookie.ends_with("; Path=/; HttpOnly; SameSite=Strict") && !cookie.contains("0123456789abcdef"));
        let pair = cookie.split(';').next().unwrap();
        assert_eq!(judge(&[("cookie", &format!("a=b; {pair}"))]), Verdict::Allowed);
        assert_eq!(judge(&[("cookie", "foodstream_status=0123456789abcdef")]), Verdict::NoToken);
    }
}
