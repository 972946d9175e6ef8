//! A line of the configuration file: `KEY=value`, `KEY="value with spaces"`, `# comment`.
//!
//! The form is one that sh(1) would read the same way, so values must not hold what a shell
//! would change: `"`, `\`, `$`, `` ` ``, and outside of quotes white space and `'`.

/// Splits a line into key and value; `None` for an empty line or a comment.
///
/// # Errors
/// The cause in words, with the key where there is one.
pub fn assignment(line: &[u8]) -> Result<Option<(&str, &str)>, String> {
    let Ok(line) = std::str::from_utf8(line) else {
        return Err("not UTF-8".to_owned());
    };
    let line = line.trim_matches([' ', '\t']);
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    if line.ends_with('\r') {
        return Err("ends with a carriage return; save the file with Unix line ends".to_owned());
    }
    let Some((key, rest)) = line.split_once('=') else {
        return Err("not of the form KEY=value".to_owned());
    };
    if key.is_empty() || !key.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'_') {
        return Err("not of the form KEY=value".to_owned());
    }
    let value = value(rest).map_err(|cause| format!("{key}: {cause}"))?;
    Ok(Some((key, value)))
}

fn value(rest: &str) -> Result<&str, String> {
    let value = match rest.strip_prefix('"') {
        Some(quoted) => {
            let (value, after) = quoted.split_once('"').ok_or("no closing quote")?;
            // In `"a\"b"` the quote that was found is not the closing one.
            if !value.ends_with('\\') && !is_comment(after) {
                return Err("text after the closing quote".to_owned());
            }
            value
        }
        None => match rest.find([' ', '\t']) {
            Some(at) => {
                let (value, after) = rest.split_at_checked(at).unwrap_or((rest, ""));
                if !is_comment(after) {
                    return Err("a value with spaces needs double quotes".to_owned());
                }
                value
            }
            None if rest.starts_with('#') => return Err("a value with # needs double quotes".to_owned()),
            None => rest,
        },
    };
    if let Some(bad) = value.chars().find(|c| "\"\\$`".contains(*c) || c.is_control()) {
        return Err(format!("a value cannot hold {}", describe(bad)));
    }
    if !rest.starts_with('"') && value.contains('\'') {
        return Err("single quotes are not supported, use double quotes".to_owned());
    }
    Ok(value)
}

fn describe(bad: char) -> String {
    if bad.is_control() { "control characters".to_owned() } else { format!("the character {bad}") }
}

/// Whether what follows a value is nothing, white space, or a comment set off by white space.
fn is_comment(after: &str) -> bool {
    let text = after.trim_start_matches([' ', '\t']);
    text.is_empty() || (text.len() < after.len() && text.starts_with('#'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_sh_reads_alike() {
        for (line, expected) in [
            ("KEY=value", "value"),
            ("  KEY=value\t ", "value"),
            ("KEY=", ""),
            ("KEY=\"\"", ""),
            ("KEY=\"two words\"", "two words"),
            ("KEY=\"a # b\"  # comment", "a # b"),
            ("KEY=value # comment \"x", "value"),
            ("KEY=val#ue", "val#ue"),
            ("KEY=a=b", "a=b"),
            ("KEY=\"it's\"", "it's"),
        ] {
            assert_eq!(assignment(line.as_bytes()), Ok(Some(("KEY", expected))), "{line}");
        }
        for line in ["", "   ", "# comment", "\t# KEY=value"] {
            assert_eq!(assignment(line.as_bytes()), Ok(None), "{line}");
        }
    }

    #[test]
    fn refuses_what_sh_would_change() {
        for (line, cause) in [
            ("KEY", "not of the form KEY=value"),
            ("=value", "not of the form KEY=value"),
            ("KEY =value", "not of the form KEY=value"),
            ("export KEY=value", "not of the form KEY=value"),
            ("KEY= value", "KEY: a value with spaces needs double quotes"),
            ("KEY=two words", "KEY: a value with spaces needs double quotes"),
            ("KEY=\"open", "KEY: no closing quote"),
            ("KEY=\"a\"b", "KEY: text after the closing quote"),
            ("KEY=\"a\"#b", "KEY: text after the closing quote"),
            ("KEY=a\"b", "KEY: a value cannot hold the character \""),
            ("KEY=\"a\\\"b\"", "KEY: a value cannot hold the character \\"),
            ("KEY=$HOME", "KEY: a value cannot hold the character $"),
            ("KEY=`id`", "KEY: a value cannot hold the character `"),
            ("KEY='value'", "KEY: single quotes are not supported, use double quotes"),
            ("KEY=#value", "KEY: a value with # needs double quotes"),
            ("KEY=a\u{7}", "KEY: a value cannot hold control characters"),
            ("KEY=a\0b", "KEY: a value cannot hold control characters"),
            ("KEY=a\r", "ends with a carriage return; save the file with Unix line ends"),
        ] {
            assert_eq!(assignment(line.as_bytes()), Err(cause.to_owned()), "{line}");
        }
        assert!(assignment(b"KEY=\xff").is_err());
    }
}
