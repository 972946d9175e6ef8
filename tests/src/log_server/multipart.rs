//! multipart/form-data (RFC 7578), read strictly: no preamble, no epilogue, nothing but form fields.

use super::http::{bad, find, parse_headers};
use std::io;

/// The most octets of a boundary (RFC 2046, section 5.1.1).
const MAX_BOUNDARY: usize = 70;

/// One part of a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// The field's name.
    pub(super) name: String,
    /// The file's name, if it is a file.
    pub(super) file_name: Option<String>,
    /// The type, if one is given.
    pub(super) content_type: Option<String>,
    /// The content.
    pub(super) content: Vec<u8>,
}

/// The boundary that a `Content-Type` of multipart/form-data names.
pub(super) fn boundary(content_type: &str) -> io::Result<&str> {
    let (kind, parameter) = content_type.split_once(';').ok_or_else(|| bad("content-type: no boundary"))?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return Err(bad("content-type: not multipart/form-data"));
    }
    let value = parameter.trim().strip_prefix("boundary=").ok_or_else(|| bad("content-type: no boundary"))?;
    let quoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    let boundary = quoted.unwrap_or(value);
    // What needs quotes must have them; what may not be in a boundary at all is refused either way.
    let free = |c: char| c.is_ascii_alphanumeric() || "'+_-.".contains(c);
    let in_quotes = |c: char| free(c) || " (),/:=?".contains(c);
    let allowed = if quoted.is_some() { boundary.chars().all(in_quotes) } else { boundary.chars().all(free) };
    if !allowed || boundary.is_empty() || boundary.len() > MAX_BOUNDARY || boundary.ends_with(' ') {
        return Err(bad("content-type: bad boundary"));
    }
    Ok(boundary)
}

/// The parts of a form, in order.
pub(super) fn parse(body: &[u8], boundary: &str) -> io::Result<Vec<Part>> {
    let first = format!("--{boundary}");
    let delimiter = format!("\r\n--{boundary}");
    let mut rest =
        body.strip_prefix(first.as_bytes()).ok_or_else(|| bad("form: does not start with its boundary"))?;
    let mut parts = Vec::new();
    loop {
        if let Some(end) = rest.strip_prefix(b"--") {
            return match end {
                b"" | b"\r\n" if !parts.is_empty() => Ok(parts),
                b"" | b"\r\n" => Err(bad("form: no parts")),
                _ => Err(bad("form: goes on after its end")),
            };
        }
        let part = rest.strip_prefix(b"\r\n").ok_or_else(|| bad("form: no end of line after a boundary"))?;
        let end = position(part, delimiter.as_bytes()).ok_or_else(|| bad("form: a part without end"))?;
        let (part, after) = part.split_at(end);
        parts.push(parse_part(part)?);
        rest = after.get(delimiter.len()..).unwrap_or_default();
    }
}

fn parse_part(part: &[u8]) -> io::Result<Part> {
    let head = position(part, b"\r\n\r\n").ok_or_else(|| bad("part: headers without end"))?;
    let (head, content) = part.split_at(head);
    let head = std::str::from_utf8(head).map_err(|_| bad("part: headers are not UTF-8"))?;
    let headers = parse_headers(head)?;
    let disposition =
        find(&headers, "content-disposition").ok_or_else(|| bad("part: no content-disposition"))?;
    let mut rest = disposition.strip_prefix("form-data").ok_or_else(|| bad("part: not form-data"))?;
    let (mut name, mut file_name) = (None, None);
    while !rest.is_empty() {
        let (key, value, after) = parameter(rest).ok_or_else(|| bad("part: bad content-disposition"))?;
        match key {
            "name" if name.is_none() => name = Some(value),
            "filename" if file_name.is_none() => file_name = Some(value),
            _ => return Err(bad("part: unknown or double parameter")),
        }
        rest = after;
    }
    Ok(Part {
        name: name.filter(|name| !name.is_empty()).ok_or_else(|| bad("part: no name"))?.to_owned(),
        file_name: file_name.map(str::to_owned),
        content_type: find(&headers, "content-type").map(str::to_owned),
        content: content.get(4..).unwrap_or_default().to_vec(),
    })
}

/// `; key="value"`, and what follows. Quotes in a value have to be percent-encoded (RFC 7578, section 2).
fn parameter(text: &str) -> Option<(&str, &str, &str)> {
    let (key, rest) = text.strip_prefix("; ")?.split_once("=\"")?;
    let (value, after) = rest.split_once('"')?;
    Some((key, value, after))
}

fn position(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    let (&first, others) = needle.split_first()?;
    let mut at = 0;
    loop {
        let found = at + haystack.get(at..)?.iter().position(|&octet| octet == first)?;
        if haystack.get(found + 1..)?.starts_with(others) {
            return Some(found);
        }
        at = found + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FORM: &str = "--b\r\nContent-Disposition: form-data; name=\"device_id\"\r\n\r\ntdid_1\r\n--b\r\n\
        content-disposition: form-data; name=\"file\"; filename=\"pflog.txt\"\r\nContent-Type: text/plain\r\n\r\n\
        line\r\n--c\r\n\r\n--b--\r\n";

    #[test]
    fn boundaries() {
        assert_eq!(boundary("multipart/form-data; boundary=abc-1_2").unwrap(), "abc-1_2");
        assert_eq!(boundary("Multipart/Form-Data;boundary=\"a b:c\"").unwrap(), "a b:c");
        let long = format!("multipart/form-data; boundary={}", "x".repeat(71));
        for bad in [
            "multipart/form-data",
            "text/plain; boundary=x",
            "multipart/form-data; boundary=",
            "multipart/form-data; charset=x",
            "multipart/form-data; boundary=a:b",
            "multipart/form-data; boundary=\"a \"",
            "multipart/form-data; boundary=\"a",
            &long,
        ] {
            assert!(boundary(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_form_of_two_parts() {
        let parts = parse(FORM.as_bytes(), "b").unwrap();
        assert_eq!(parts.len(), 2);
        assert_eq!(
            parts[0],
            Part {
                name: "device_id".into(),
                file_name: None,
                content_type: None,
                content: b"tdid_1".to_vec()
            }
        );
        assert_eq!(
            parts[1],
            Part {
                name: "file".into(),
                file_name: Some("pflog.txt".into()),
                content_type: Some("text/plain".into()),
                content: b"line\r\n--c\r\n".to_vec(),
            }
        );
    }

    #[test]
    fn a_form_cut_anywhere_is_refused() {
        // The final end of line may be missing (RFC 2046), the rest may not.
        for length in 0..FORM.len() - 2 {
            assert!(parse(&FORM.as_bytes()[..length], "b").is_err(), "{length}");
        }
        assert!(parse(FORM.trim_end().as_bytes(), "b").is_ok());
    }

    #[test]
    fn bent_forms_are_refused() {
        for (from, to) in [
            ("--b\r\nContent", "preamble\r\n--b\r\nContent"),
            ("--b--\r\n", "--b--\r\nepilogue"),
            ("; name=\"device_id\"", ""),
            ("; name=\"device_id\"", "; name=\"\""),
            ("; name=\"device_id\"", "; name=device_id"),
            ("; name=\"device_id\"", "; name=\"a\"; name=\"b\""),
            ("; name=\"device_id\"", "; name=\"a\"; size=\"1\""),
            ("form-data; name=\"device_id\"", "attachment; name=\"device_id\""),
            ("Content-Disposition", "Content-Position"),
            ("--b\r\ncontent", "--b \r\ncontent"),
            ("\r\n\r\ntdid", "\r\ntdid"),
        ] {
            assert!(FORM.contains(from));
            assert!(parse(FORM.replacen(from, to, 1).as_bytes(), "b").is_err(), "{from:?} as {to:?}");
        }
        assert!(parse(b"--b--\r\n", "b").is_err());
        assert!(parse(FORM.as_bytes(), "c").is_err());
    }

    proptest! {
        #[test]
        fn content_comes_back(content in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'-'), Just(b'b'), any::<u8>()], 0..200)) {
            let boundary = "b0undary";
            let form = [b"--b0undary\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n", &content[..], b"\r\n--b0undary--\r\n"].concat();
            let parts = parse(&form, boundary).unwrap();
            prop_assert_eq!(&parts[0].content, &content);
        }

        #[test]
        fn nothing_panics(octets in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'-'), Just(b'b'), any::<u8>()], 0..100)) {
            let _ = parse(&octets, "b");
            let _ = parse(&[b"--b\r\n", &octets[..], b"\r\n--b--"].concat(), "b");
        }
    }
}
