//! The frame around a file in a multipart/form-data body (RFC 7578, RFC 2046 section 5.1).

/// What comes before and after the file. The file itself is streamed between the two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Form {
    /// The part with the device id, and the header of the part with the file.
    pub head: Vec<u8>,
    /// The end of the part with the file, and of the body.
    pub tail: Vec<u8>,
    boundary: String,
}

impl Form {
    /// A form of two fields: a short text, and a file of a media type. Each field is its name and
    /// its value, or the file's name.
    ///
    /// Names and the text come from the configuration, which takes neither quotes nor control
    /// characters there. `random` makes the boundary, new for each form: whoever could guess it would
    /// write fields of his own into the file.
    pub fn new(text: (&str, &str), file: (&str, &str), media_type: &str, random: &[u8; 16]) -> Form {
        let ((text_field, text), (file_field, file_name)) = (text, file);
        let boundary = format!("tsship-{:032x}", u128::from_be_bytes(*random));
        let head = format!(
            "--{boundary}\r\n\
             Content-Disposition: form-data; name=\"{text_field}\"\r\n\
             \r\n\
             {text}\r\n\
             --{boundary}\r\n\
             Content-Disposition: form-data; name=\"{file_field}\"; filename=\"{file_name}\"\r\n\
             Content-Type: {media_type}\r\n\
             \r\n"
        );
        let tail = format!("\r\n--{boundary}--\r\n");
        Form { head: head.into_bytes(), tail: tail.into_bytes(), boundary }
    }

    /// The value of the Content-Type header.
    pub fn content_type(&self) -> String {
        format!("multipart/form-data; boundary={}", self.boundary)
    }

    /// The length of the body around a file of `length` octets.
    pub fn body_length(&self, length: u64) -> u64 {
        length.saturating_add(self.head.len() as u64).saturating_add(self.tail.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The parts of a body as RFC 2046 delimits them: header and content of each.
    fn parts(body: &str, boundary: &str) -> Vec<(String, String)> {
        let (body, delimiter) = (format!("\r\n{body}"), format!("\r\n--{boundary}"));
        let mut parts = body.split(&delimiter);
        assert_eq!(parts.next(), Some(""), "nothing before the first part");
        let mut found = Vec::new();
        for part in parts.by_ref() {
            if part == "--\r\n" {
                assert_eq!(parts.next(), None, "nothing after the end");
                return found;
            }
            let (header, content) = part.strip_prefix("\r\n").unwrap().split_once("\r\n\r\n").unwrap();
            found.push((header.to_owned(), content.to_owned()));
        }
        panic!("no end");
    }

    #[test]
    fn two_parts_and_the_file_untouched() {
        let digest = "ab".repeat(32);
        let name = format!("{digest}.txt");
        let form = Form::new(("device_id", "tdid_abcd1234"), ("logs[]", &name), "text/plain", &[7; 16]);
        let content_type = form.content_type();
        let boundary = content_type.strip_prefix("multipart/form-data; boundary=").unwrap();
        assert!((1..=70).contains(&boundary.len()));
        assert_eq!(boundary, format!("tsship-{}", "07".repeat(16)), "the digest gives nothing away");
        for file in ["", "one line\n", "no end of line", "\r\n--\r\n", "--tsship-"] {
            let body = [&form.head, file.as_bytes(), &form.tail].concat();
            assert_eq!(form.body_length(file.len() as u64), body.len() as u64);
            let parts = parts(std::str::from_utf8(&body).unwrap(), boundary);
            assert_eq!(
                parts[0],
                ("Content-Disposition: form-data; name=\"device_id\"".into(), "tdid_abcd1234".into())
            );
            let header = format!(
                "Content-Disposition: form-data; name=\"logs[]\"; filename=\"{digest}.txt\"\r\n\
                 Content-Type: text/plain"
            );
            assert_eq!(parts[1], (header, file.into()));
            assert_eq!(parts.len(), 2);
        }
    }
}
