//! Claims in httpd's expressions: what `jwt(NAME)` and `jwt_list(NAME)` give.
//!
//! A text with control characters counts as absent. httpd's strings end at the first NUL, so that its beginning would
//! be compared as if it were all of it; and mod_headers puts a value into a request as it is, where a line break would
//! begin another header.

use std::borrow::Cow;

use crate::identity::Identity;
use crate::token::json::Json;

/// A claim as one text: a string as it is; a number or boolean as its JSON text; an object as compact JSON; the
/// elements of an array joined by `,`, nulls left out and arrays inside as compact JSON. Null and an array without
/// elements are none.
///
/// A comma inside an element looks like the end of one: what compares elements should ask for [`claim_list`].
pub fn claim_text<'v>(identity: &'v Identity, name: &str) -> Option<Cow<'v, str>> {
    let text = match identity.claim(name)? {
        list @ Json::Array(_) => {
            let texts: Vec<_> = list.texts().collect();
            if texts.is_empty() {
                return None;
            }
            Cow::Owned(texts.join(","))
        }
        single => single.text()?,
    };
    is_plain(&text).then_some(text)
}

/// The elements of an array, each as in [`claim_text`]; of anything else, a list of just that.
pub fn claim_list<'v>(identity: &'v Identity, name: &str) -> impl Iterator<Item = Cow<'v, str>> + use<'v> {
    identity.claim(name).into_iter().flat_map(Json::texts).filter(|text| is_plain(text))
}

/// Whether it can stand in a C string and in a header.
fn is_plain(text: &str) -> bool {
    !text.bytes().any(|b| b.is_ascii_control())
}
