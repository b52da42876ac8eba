//! stub
pub(super) fn shown_text(url: &str) -> String {
    url.split(['?', '@']).next().unwrap_or_default().to_owned()
}
