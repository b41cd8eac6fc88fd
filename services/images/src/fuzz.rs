//! What fuzzers and the replay of their corpora call (`tests/fuzz`): each takes any bytes, and what comes of them holds.

use crate::model::{Wanted, wanted};
use crate::wire::{HEAD_MAX, read_request};

/// The head of a request, and its range for a file.
///
/// # Panics
///
/// If more was read than is there, or a range leaves the file.
pub fn request(bytes: &[u8]) {
    match read_request(bytes) {
        Ok(Some(request)) => {
            assert!(request.length <= bytes.len() && request.length <= HEAD_MAX);
            assert!(request.path.len() <= bytes.len());
            check(request.fields.range.as_deref());
            // What is whole stays whole, whatever follows it.
            let again = read_request(&bytes[..request.length]);
            assert_eq!(again.ok().flatten().as_ref(), Some(&request));
        }
        Ok(None) => assert!(bytes.len() < HEAD_MAX, "it would be waited for for ever"),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A range, as the field has it.
///
/// # Panics
///
/// If a part leaves the file.
pub fn range(bytes: &[u8]) {
    check(std::str::from_utf8(bytes).ok());
}

fn check(range: Option<&str>) {
    for length in [0, 1, 1000, u64::MAX] {
        if let Wanted::Parts(spans) = wanted(range, length) {
            assert!(!spans.is_empty());
            for span in spans {
                assert!(span.first <= span.last && span.last < length, "{range:?} of {length}: {span:?}");
                assert!(span.length() <= length);
            }
        }
    }
}
