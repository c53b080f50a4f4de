//! The `postgres` section.

use std::path::Path;

use secrecy::SecretString;

use super::{Checked, Resolver, narrowed};
use crate::config::node::Origin;
use crate::config::provenance::NoteLevel;
use crate::config::raw::{RawPostgres, RawSslMode};
use crate::config::settings::{Postgres, PostgresTls, SslMode};
use crate::config::{defaults, parse, secrets};

impl Resolver<'_> {
    pub(super) fn postgres(&mut self, raw: Option<&RawPostgres>, allow_plaintext: bool) -> Checked<Option<Postgres>> {
        let Some(raw) = raw else { return Ok(None) };
        if raw.driver.is_some() {
            let text = "`postgres.driver` names the JVM's driver: accepted, without effect".to_owned();
            self.note(NoteLevel::NoEffect, text);
        }
        let host = self.word("postgres.host", raw.host.as_ref())?;
        // A unix socket is a path, or begins with `@`.
        let is_address = |host: &str| !host.starts_with(['/', '@']) && host.contains(['@', '/']);
        if host.as_deref().is_some_and(|host| host.contains([',', ' ']) || is_address(host)) {
            return Err(self.wrong("postgres.host", "is no single host; name the primary"));
        }
        let database = self.word("postgres.db", raw.db.as_ref())?;
        let user = self.word("postgres.user", raw.user.as_ref())?;
        let table = self.word("postgres.table", raw.table.as_ref())?;
        if let Some(table) = &table {
            parse::table(table).map_err(|words| self.wrong("postgres.table", &words))?;
        }
        let password = self.password(raw)?;
        let tls = self.postgres_tls(raw)?;
        if let (Some(host), Some(mode @ (SslMode::Disable | SslMode::Require))) = (&host, tls.mode)
            && !allow_plaintext
            && !parse::plaintext_allowed(host)
        {
            let lack = if mode == SslMode::Disable { "without TLS" } else { "without checking who answers" };
            let fact =
                format!("`postgres.sslmode` would connect to {host} {lack}: the password and every row are at stake");
            let help = "use verify-full, or set security.allow_plaintext: true knowingly";
            return Err(self.problem("postgres.sslmode", fact).help(help));
        }
        let required = [
            ("host", host.is_some()),
            ("db", database.is_some()),
            ("user", user.is_some()),
            ("table", table.is_some()),
        ];
        if !self.finished("postgres", &required) {
            return Ok(None);
        }
        let (Some(host), Some(database), Some(user), Some(table)) = (host, database, user, table) else {
            unreachable!("checked by `finished`")
        };
        if tls.mode.is_none() || tls.mode == Some(SslMode::Disable) {
            self.note_plain("postgres.host", &host);
        }
        let port = raw.port.map_or(defaults::POSTGRES_PORT, narrowed);
        Ok(Some(Postgres { host, port, database, user, password, table, tls }))
    }

    /// Container networks are trusted, but said.
    pub(super) fn note_plain(&mut self, key: &str, host: &str) {
        let local = host == "localhost"
            || host.starts_with('/')
            || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok();
        if parse::plaintext_allowed(host) && !local {
            self.note(
                NoteLevel::Warning,
                format!("`{key}`: {host} is a single-label name, so the connection is plain text"),
            );
        }
    }

    fn password(&self, raw: &RawPostgres) -> Checked<Option<SecretString>> {
        let (key, file_key) = ("postgres.password", "postgres.password_file");
        match (&raw.password, &raw.password_file) {
            (Some(_), Some(_)) => Err(self
                .problem(file_key, format!("`{key}` and `{file_key}` are both given"))
                .help("remove one of the two")),
            (Some(password), None) => Ok(Some(SecretString::from(password.clone()))),
            (None, Some(path)) => self.secret_file(file_key, path).map(|secret| Some(SecretString::from(secret))),
            (None, None) => Ok(None),
        }
    }

    pub(super) fn secret_file(&self, key: &str, path: &str) -> Checked<String> {
        secrets::read(Path::new(path)).map_err(|fact| self.problem(key, format!("`{key}`: {fact}")))
    }

    fn postgres_tls(&self, raw: &RawPostgres) -> Checked<PostgresTls> {
        let mode = raw.sslmode.map(|mode| match mode {
            RawSslMode::Disable => SslMode::Disable,
            RawSslMode::Require => SslMode::Require,
            RawSslMode::VerifyCa => SslMode::VerifyCa,
            RawSslMode::VerifyFull => SslMode::VerifyFull,
        });
        let tls = PostgresTls {
            mode,
            root_cert: self.path("postgres.sslrootcert", raw.sslrootcert.as_ref())?,
            cert: self.path("postgres.sslcert", raw.sslcert.as_ref())?,
            key: self.path("postgres.sslkey", raw.sslkey.as_ref())?,
        };
        let lonely = match (&tls.cert, &tls.key) {
            (Some(_), None) => Some(("postgres.sslcert", "postgres.sslkey")),
            (None, Some(_)) => Some(("postgres.sslkey", "postgres.sslcert")),
            _ => None,
        };
        if let Some((given, lacking)) = lonely {
            return Err(self
                .problem(given, format!("`{given}` is given without `{lacking}`"))
                .help("give both, or none"));
        }
        let needs_tls = [("sslrootcert", tls.root_cert.is_some()), ("sslcert", tls.cert.is_some())];
        if let (Some(SslMode::Disable), Some((name, _))) = (mode, needs_tls.iter().find(|(_, given)| *given)) {
            let key = format!("postgres.{name}");
            let place = self.provenance.source.place(&self.root.locate("postgres.sslmode").origin);
            debug_assert_ne!(self.root.locate(&key).origin, Origin::Default);
            return Err(self
                .problem(&key, format!("`{key}` contradicts `postgres.sslmode: disable`"))
                .help(format!("sslmode is at {place}: remove one")));
        }
        Ok(tls)
    }
}
