//! Text inside HTML, for the small tables that reports show in a notebook.

/// The text as it may stand between tags and in a quoted attribute.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
