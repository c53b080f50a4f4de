//! Standard output: the one place that writes to it.
//!
//! Reports for people are lines; with `--report json` there is one JSON object instead. A reader that went away
//! (`| head`) is no failure: what follows is dropped in silence. Any other failure is told by [`Out::finish`].

use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal, StdoutLock, Write};

use serde_json::Value;

#[derive(Debug)]
pub struct Out<W: Write = StdoutLock<'static>> {
    sink: W,
    json: bool,
    failure: Option<io::Error>,
}

impl Out {
    /// Locks standard output for as long as it lives.
    pub fn stdout() -> Self {
        Out::new(io::stdout().lock(), false)
    }
}

/// Colours are for people at a terminal who have not said otherwise.
pub fn wants_colour() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

impl<W: Write> Out<W> {
    pub fn new(sink: W, json: bool) -> Self {
        Out { sink, json, failure: None }
    }

    /// A line for people; not written where a JSON report is wanted.
    pub fn line(&mut self, line: impl Display) {
        if !self.json {
            self.data(line);
        }
    }

    /// A line of what the command was asked for, in either form.
    pub fn data(&mut self, line: impl Display) {
        if self.failure.is_none()
            && let Err(error) = writeln!(self.sink, "{line}")
        {
            self.failure = Some(error);
        }
    }

    /// The JSON report; written only where it is wanted.
    pub fn report(&mut self, report: &Value) {
        if self.json {
            self.data(report);
        }
    }

    pub fn wants_json(&self) -> bool {
        self.json
    }

    pub fn set_json(&mut self, json: bool) {
        self.json = json;
    }

    pub fn finish(mut self) -> io::Result<()> {
        let failure = self.failure.take().or_else(|| self.sink.flush().err());
        match failure {
            Some(error) if error.kind() != ErrorKind::BrokenPipe => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    struct Failing(ErrorKind);

    impl Write for Failing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_json_report_stands_alone() {
        let mut text = Vec::new();
        let mut out = Out::new(&mut text, true);
        out.line("for people");
        out.report(&json!({"rows": 5}));
        out.finish().unwrap();
        assert_eq!(String::from_utf8(text).unwrap(), "{\"rows\":5}\n");
    }

    #[test]
    fn people_see_lines_and_no_json() {
        let mut text = Vec::new();
        let mut out = Out::new(&mut text, false);
        out.line("for people");
        out.report(&json!({"rows": 5}));
        out.finish().unwrap();
        assert_eq!(String::from_utf8(text).unwrap(), "for people\n");
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure_but_a_full_disk_is() {
        let mut gone = Out::new(Failing(ErrorKind::BrokenPipe), false);
        gone.line("x");
        assert!(gone.finish().is_ok());
        let mut full = Out::new(Failing(ErrorKind::StorageFull), false);
        full.line("x");
        assert_eq!(full.finish().unwrap_err().kind(), ErrorKind::StorageFull);
    }
}
