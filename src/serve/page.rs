//! The page's files, as they are in the binary.

/// A file of the page: where it is asked for, what it is, and its bytes.
#[derive(Clone, Copy, Debug)]
pub struct PageFile {
    pub path: &'static str,
    pub content_type: &'static str,
    pub bytes: &'static [u8],
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! at {
    ($path:expr, $content_type:ident, $file:literal) => {
        PageFile { path: $path, content_type: $content_type, bytes: include_bytes!(concat!("page/", $file)) }
    };
    ($content_type:ident, $file:literal) => {
        at!(concat!("/page/", $file), $content_type, $file)
    };
}

const FILES: &[PageFile] = &[
    at!("/", HTML, "index.html"),
    at!(CSS, "page.css"),
    at!(SVG, "icon.svg"),
    at!(SCRIPT, "app.js"),
    at!(SCRIPT, "chart.js"),
    at!(SCRIPT, "dom.js"),
    at!(SCRIPT, "feed.js"),
    at!(SCRIPT, "format.js"),
    at!(SCRIPT, "model.js"),
    at!(SCRIPT, "sections.js"),
];

/// Only what the server itself sends, and never text as markup: a value on the page must not become code.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'; trusted-types 'none'";

pub fn file(path: &str) -> Option<&'static PageFile> {
    FILES.iter().find(|file| file.path == path)
}
