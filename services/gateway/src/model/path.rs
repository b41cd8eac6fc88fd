//! One spelling for each path, before anything is decided by it.

use std::borrow::Cow;

/// A path that could mean one thing to us and another to the service behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PathError {
    #[error("the request names no path; ask for one that begins with /")]
    NoPath,
    #[error("the path has a . or .. segment; write it without")]
    Dots,
    #[error("the path has an encoded slash, backslash or control character, which no path here has")]
    Forbidden,
    #[error("the path has a % that no two hexadecimal digits follow")]
    Percent,
}

/// The path with runs of `/` made one and escapes of unreserved characters undone (RFC 3986 section 6.2.2).
/// Most are that way already and are not copied.
pub(crate) fn normalise(path: &str) -> Result<Cow<'_, str>, PathError> {
    if !path.starts_with('/') {
        return Err(PathError::NoPath);
    }
    if path.bytes().any(|it| !it.is_ascii_graphic() || it == b'\\') {
        return Err(PathError::Forbidden);
    }
    let normal = if path.contains('%') || path.contains("//") {
        Cow::Owned(rewrite(path)?)
    } else {
        Cow::Borrowed(path)
    };
    if normal.contains("/.") && normal.split('/').any(|it| matches!(it, "." | "..")) {
        return Err(PathError::Dots);
    }
    Ok(normal)
}

fn rewrite(path: &str) -> Result<String, PathError> {
    let mut normal = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(first) = rest.chars().next() {
        if first == '%' {
            let escape = rest.get(..3).ok_or(PathError::Percent)?;
            match unescape(escape.as_bytes()).ok_or(PathError::Percent)? {
                b'/' | b'\\' | 0..=0x1f | 0x7f => return Err(PathError::Forbidden),
                byte if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                    normal.push(char::from(byte))
                }
                _ => normal.push_str(escape),
            }
            rest = &rest[3..];
            continue;
        }
        if first != '/' || !normal.ends_with('/') {
            normal.push(first);
        }
        rest = &rest[first.len_utf8()..];
    }
    Ok(normal)
}

fn unescape(escape: &[u8]) -> Option<u8> {
    let digit = |it: u8| char::from(it).to_digit(16).and_then(|it| u8::try_from(it).ok());
    Some(digit(*escape.get(1)?)? << 4 | digit(*escape.get(2)?)?)
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::{PathError, normalise};

    #[test]
    fn a_normal_path_is_not_copied() {
        for path in ["/", "/hsm/v2/groups", "/.well-known/jwks.json", "/a..b/c.", "/cloud-init/", "/x:y@z"] {
            assert!(matches!(normalise(path), Ok(Cow::Borrowed(it)) if it == path), "{path}");
        }
    }

    #[test]
    fn other_spellings_become_one() {
        for (path, normal) in [
            ("//hsm///v2", "/hsm/v2"),
            ("/services/inventory/%73napshot", "/services/inventory/snapshot"),
            ("/services/inventory//snapshot", "/services/inventory/snapshot"),
            ("/x/ec%3Ae7%3aa7", "/x/ec%3Ae7%3aa7"),
            ("/a%20b/%C3%A4", "/a%20b/%C3%A4"),
            ("/%2565", "/%2565"),
        ] {
            assert_eq!(normalise(path).as_deref(), Ok(normal), "{path}");
        }
    }

    #[test]
    fn what_could_mean_two_things_is_refused() {
        for (path, error) in [
            ("", PathError::NoPath),
            ("*", PathError::NoPath),
            ("/a/../b", PathError::Dots),
            ("/a/%2e%2E/b", PathError::Dots),
            ("/a/.", PathError::Dots),
            ("/a//..", PathError::Dots),
            ("/a%2fb", PathError::Forbidden),
            ("/a%2Fb", PathError::Forbidden),
            ("/a%5cb", PathError::Forbidden),
            ("/a\\b", PathError::Forbidden),
            ("/a%00", PathError::Forbidden),
            ("/a%0d%0a", PathError::Forbidden),
            ("/ä", PathError::Forbidden),
            ("/a%", PathError::Percent),
            ("/a%2", PathError::Percent),
            ("/a%zz", PathError::Percent),
            ("/a%+1", PathError::Percent),
        ] {
            assert_eq!(normalise(path), Err(error), "{path}");
        }
    }
}
