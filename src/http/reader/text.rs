//! Messages as they go out, in the clear. Once one is made it shows itself no more.

use std::sync::Arc;

use actors::phi::Phi;

/// A message as it goes out; all who are sent it share it.
pub(in crate::http) type Text = Arc<Phi<String>>;

/// From now on this shows itself no more.
pub(super) fn text_of(clear: String) -> Text {
    Arc::new(Phi::new(clear))
}

/// The same of what was opened; `None` when it is no text.
pub(super) fn text_of_opened(opened: Phi<Vec<u8>>) -> Option<Text> {
    String::from_utf8(opened.into_inner()).ok().map(text_of)
}
