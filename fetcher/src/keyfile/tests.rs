use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// What tsig-keygen(8) writes; the secret is the octets 0 to 31.
const SECRET_TEXT: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const FILE: &str = "key \"fleet.example\" {\n\talgorithm hmac-sha256;\n\tsecret \"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\";\n};\n";

fn said(file: &str) -> String {
    parse(file.as_bytes()).unwrap_err().to_string()
}

/// Two keys are the same if they make the same MAC.
fn is_key(file: &str, name: &str, algorithm: Algorithm) {
    let key = parse(file.as_bytes()).unwrap_or_else(|fault| panic!("{file}: {fault}"));
    let secret: Vec<u8> = (0..32).collect();
    let expected = Key::new(Name::from_ascii(name).unwrap(), algorithm, &secret);
    assert_eq!((&key.name, key.algorithm), (&expected.name, expected.algorithm), "{file}");
    let mac = |key: &Key| hmac::sign(&key.secret, b"message").as_ref().to_vec();
    assert_eq!(mac(&key), mac(&expected), "{file}");
}

#[test]
fn reads_what_bind_writes() {
    is_key(FILE, "fleet.example.", Algorithm::Sha256);
}

#[test]
fn takes_comments_quotes_order_and_spaces_as_bind_does() {
    let secret = SECRET_TEXT;
    for file in [
        format!("key fleet.example. {{ secret {secret}; algorithm hmac-sha512.; }};"),
        format!(
            "# a\n// b\n/* c\n }}; \" */key fleet.example{{algorithm\n\"HMAC-SHA512\" ;secret \"{secret}\";}};# d"
        ),
        format!(
            "/**/KEY \"fleet.example\" {{ algorithm hmac-sha512; // \"{{\n secret\t\"{secret}\"\r\n; }} ; /* end */\n\n"
        ),
    ] {
        is_key(&file, "fleet.example.", Algorithm::Sha512);
    }
}

#[test]
fn says_line_and_cause() {
    for (from, to, expected) in [
        ("hmac-sha256", "hmac-md5", "line 2: hmac-md5 is too weak; use hmac-sha256 or hmac-sha512"),
        (
            "hmac-sha256",
            "HMAC-MD5.SIG-ALG.REG.INT",
            "line 2: hmac-md5 is too weak; use hmac-sha256 or hmac-sha512",
        ),
        ("hmac-sha256", "hmac-sha1", "line 2: hmac-sha1 is too weak; use hmac-sha256 or hmac-sha512"),
        (
            "hmac-sha256",
            "hmac-sha256-128",
            "line 2: the algorithm is not known; use hmac-sha256 or hmac-sha512",
        ),
        ("\talgorithm hmac-sha256;\n", "", "line 3: the key has no algorithm"),
        ("algorithm hmac-sha256;", "algorithm;", "line 2: no word after algorithm"),
        ("hmac-sha256;", "hmac-sha256", "line 3: no ; after the word"),
        ("\tsecret", "\talgorithm hmac-sha256;\nsecret", "line 3: a second algorithm"),
        ("\tsecret", "\tsecrt", "line 3: neither algorithm, secret nor }"),
        ("\tsecret", "\t", "line 3: neither algorithm, secret nor }"),
        ("Hh8=\"", "Hh8=", "line 3: no closing quote"),
        ("Hh8=", "Hh8", "line 3: the secret is not base64"),
        ("Hh8=", "Hh9=", "line 3: the secret is not base64"),
        ("Hh8=", "Hh==", "line 3: the secret is not base64"),
        ("Hh8=", "H===", "line 3: the secret is not base64"),
        ("Hh8=", "Hh8 =", "line 3: the secret is not base64"),
        ("Hh8=", "-_8=", "line 3: the secret is not base64"),
        (
            "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
            "",
            "line 3: the secret has 0 octets; 16 to 128 are taken",
        ),
        ("DxAREhMUFRYXGBkaGxwdHh8=", "", "line 3: the secret has 15 octets; 16 to 128 are taken"),
        ("};", "}", "line 5: no ; after }"),
        ("};", ";", "line 4: neither algorithm, secret nor }"),
        ("};", "", "line 5: the key statement has no }"),
        ("};", "}; key", "line 4: more than one key statement"),
        ("};", "}; /* c", "line 4: a comment without end"),
        ("};", "}; \u{e4}", "line 4: neither a word nor a comment"),
        ("{", "", "line 2: no { after the key's name"),
        ("\"fleet.example\"", "", "line 1: no name after key"),
        ("fleet.example", "", "line 1: the key's name is not a domain name"),
        ("fleet.example", "fleet..example", "line 1: the key's name is not a domain name"),
        ("fleet.example", "a b", "line 1: the key's name is not a domain name"),
        ("key ", "options ", "line 1: not a key statement; it begins with key \"name\" {"),
    ] {
        assert!(FILE.contains(from), "{from}");
        assert_eq!(said(&FILE.replacen(from, to, 1)), expected);
    }
    assert_eq!(said(""), "line 1: no key in the file");
    assert_eq!(said("// nothing\n\n"), "line 3: no key in the file");
    let long = FILE.replace(SECRET_TEXT, &"AAAA".repeat(43));
    assert_eq!(said(&long), "line 3: the secret has 129 octets; 16 to 128 are taken");
    let label = format!("{}.example", "a".repeat(64));
    assert_eq!(said(&FILE.replace("fleet.example", &label)), "line 1: the key's name is not a domain name");
}

#[test]
fn truncated_at_every_length_it_is_refused() {
    let whole = FILE.trim_end().len();
    for length in 0..whole {
        assert!(parse(&FILE.as_bytes()[..length]).is_err(), "{length}");
    }
}

#[test]
fn the_secret_is_not_shown() {
    let shown = format!("{:?}", parse(FILE.as_bytes()).unwrap());
    assert!(shown.contains("fleet") && shown.contains("Sha256"), "{shown}");
    let octets: Vec<u8> = (0..32).collect();
    assert!(
        !shown.contains(SECRET_TEXT) && !shown.contains("0, 1, 2") && !shown.contains(&format!("{octets:?}"))
    );
}

/// Base64 by arithmetic on one large number for every three octets.
fn encode(octets: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in octets.chunks(3) {
        let number =
            (0..3).fold(0usize, |number, at| number << 8 | usize::from(*group.get(at).unwrap_or(&0)));
        for digit in 0..4 {
            text.push(if digit > group.len() { '=' } else { DIGITS[number >> (18 - 6 * digit) & 63].into() });
        }
    }
    text
}

proptest! {
    #[test]
    fn base64_comes_back(octets in vec(any::<u8>(), 0..80)) {
        prop_assert_eq!(base64(encode(&octets).as_bytes()), Some(octets));
    }

    #[test]
    fn base64_has_one_form(text in "[A-Ha-h0-3+/=]{0,12}") {
        if let Some(octets) = base64(text.as_bytes()) {
            prop_assert_eq!(encode(&octets), text);
        }
    }

    #[test]
    fn any_octets_are_read_or_refused(file in vec(any::<u8>(), 0..200)) {
        let _ = parse(&file);
    }

    /// Tokens dropped, doubled and swapped: wherever the secret comes to stand, no message shows it.
    #[test]
    fn no_message_shows_the_secret(changes in vec((0usize..13, 0usize..13, 0u8..3), 1..6)) {
        let mut tokens = vec![
            "key", "\"fleet.example\"", "{", "algorithm", "hmac-sha256", ";", "secret", "\"c2VjcmV0c2VjcmV0c2VjcmV0\"",
            ";", "}", ";", "/*", "*/",
        ];
        for (from, to, change) in changes {
            match change {
                0 if from < tokens.len() => { tokens.remove(from); }
                1 if from < tokens.len() && to < tokens.len() => tokens.swap(from, to),
                _ if from < tokens.len() => { let token = tokens[from]; tokens.insert(to.min(tokens.len()), token); }
                _ => {}
            }
        }
        if let Err(fault) = parse(tokens.join(" ").as_bytes()) {
            let said = format!("{fault} {fault:?}");
            prop_assert!(!said.contains("c2Vj"), "{}", said);
        }
    }
}
