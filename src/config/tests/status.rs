//! The status server: who may reach it, and with what.

use secrecy::ExposeSecret;

use super::*;

const TOKEN: &str = "a-token-of-a-test";

fn yaml(keys: &str) -> String {
    format!("memory: {{budget_mb: 128}}\nstatus: {{{keys}}}\n")
}

#[test]
fn it_listens_on_loopback_by_itself() {
    let status = load("memory: {budget_mb: 128}\n").status;
    assert_eq!((status.enabled, status.host.as_str(), status.port), (None, "127.0.0.1", None));
    assert_eq!(status.ready_max_lag.as_secs(), 60);
    assert!(status.token.is_none());
}

#[test]
fn any_address_but_loopback_needs_a_token() {
    for host in ["0.0.0.0", "10.0.0.7", "etl-1", "'::'", "localhost.example.org"] {
        let error = refused(&yaml(&format!("host: {host}")));
        assert_eq!(error.location().and_then(|at| at.key.clone()).as_deref(), Some("status.host"), "{host}");
        assert!(render(&error).contains("status.token"), "{}", render(&error));
        load(&yaml(&format!("host: {host}, enabled: false")));
        load(&yaml(&format!("host: {host}, token: {TOKEN}")));
    }
    for host in ["127.0.0.1", "localhost", "'::1'", "'[::1]'", "127.9.9.9"] {
        load(&yaml(&format!("host: {host}")));
    }
}

#[test]
fn a_token_comes_from_the_file_itself_or_from_another_and_is_never_shown() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("token");
    std::fs::write(&path, format!("{TOKEN}\n")).expect("written");
    let from_file = format!("token_file: {}", path.display());
    for keys in [from_file.as_str(), &format!("token: {TOKEN}")] {
        let settings = load(&yaml(keys));
        assert_eq!(settings.status.token.as_ref().map(ExposeSecret::expose_secret), Some(TOKEN));
        assert!(!settings.show(true).contains(TOKEN) && !format!("{settings:?}").contains(TOKEN));
    }
    let both = refused(&yaml(&format!("{from_file}, token: {TOKEN}")));
    assert!(both.to_string().contains("both given"), "{both}");
}

#[test]
fn a_token_that_can_be_guessed_or_not_be_sent_is_refused_without_being_shown() {
    for token in ["short", "fifteen-letters", "with a blank in it", "with-a-letter-of-ümlaut"] {
        let error = refused(&yaml(&format!("token: {token}")));
        assert!(render(&error).contains("status.token") && !render(&error).contains(token), "{}", render(&error));
    }
}
