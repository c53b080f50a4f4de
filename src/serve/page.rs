//! The page's files, as they are in the binary.

/// A file of the page: where it is asked for, what it is, and its bytes.
#[derive(Clone, Copy, Debug)]
pub struct PageFile {
    pub path: &'static str,
    pub content_type: &'static str,
    pub bytes: &'static [u8],
}

const HTML: &str = "text/html; charset=utf-8";

const FILES: &[PageFile] = &[PageFile { path: "/", content_type: HTML, bytes: include_bytes!("page/index.html") }];

/// Only what the server itself sends: a value on the page must not become code.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
     img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub fn file(path: &str) -> Option<&'static PageFile> {
    FILES.iter().find(|file| file.path == path)
}
