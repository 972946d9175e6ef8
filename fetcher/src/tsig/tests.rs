use hickory_proto::rr::Name;
use proptest::collection::vec;
use proptest::prelude::*;

use super::vectors::*;
use super::*;
use crate::keyfile::Algorithm;

fn key(algorithm: Algorithm) -> Key {
    let secret: Vec<u8> = (0..if algorithm == Algorithm::Sha256 { 32 } else { 64 }).collect();
    Key::new(Name::from_ascii("Fleet.example.").unwrap(), algorithm, &secret)
}

fn octets(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect()
}

/// The verifier of the answers to the query of the vectors.
fn verifier(key: &Key) -> Verifier<'_> {
    sign(&mut octets(QUERY), key, NOW).unwrap()
}

/// Whether an answer of one message is believed.
fn only(message: &[u8], now: u64) -> Result<(), Fault> {
    verifier(&key(Algorithm::Sha256)).only(message, now)
}

#[test]
fn signs_as_dnspython_does() {
    for (algorithm, expected) in
        [(Algorithm::Sha256, SIGNED_QUERY_256), (Algorithm::Sha512, SIGNED_QUERY_512)]
    {
        let mut query = octets(QUERY);
        sign(&mut query, &key(algorithm), NOW).unwrap();
        assert_eq!(query, octets(expected));
    }
}

#[test]
fn believes_what_dnspython_signed() {
    for (algorithm, answer) in
        [(Algorithm::Sha256, SIGNED_SINGLE_256), (Algorithm::Sha512, SIGNED_SINGLE_512)]
    {
        assert_eq!(verifier(&key(algorithm)).only(&octets(answer), NOW), Ok(()));
    }
    assert_eq!(only(&octets(FORWARDED), NOW), Ok(()));
}

#[test]
fn believes_streams_with_unsigned_messages() {
    for (algorithm, stream) in [(Algorithm::Sha256, STREAM_256), (Algorithm::Sha512, STREAM_512)] {
        let key = key(algorithm);
        let mut verifier = verifier(&key);
        for (number, message) in stream.iter().enumerate() {
            assert_eq!(verifier.next(&octets(message), NOW + 9), Ok(()), "{number}");
            let expected = if [1, 2].contains(&number) { Err(Fault::UnsignedEnd) } else { Ok(()) };
            assert_eq!(verifier.finish(), expected, "{number}");
        }
    }
}

#[test]
fn ninety_nine_unsigned_messages_and_no_more() {
    let key = key(Algorithm::Sha256);
    let [first, unsigned, ..] = STREAM_256.map(octets);
    let mut verifier = verifier(&key);
    verifier.next(&first, NOW).unwrap();
    for _ in 0..99 {
        verifier.next(&unsigned, NOW).unwrap();
    }
    let mut one_more = verifier.clone();
    assert_eq!(verifier.next(&octets(AFTER_99), NOW), Ok(()));
    assert_eq!(verifier.finish(), Ok(()));
    assert_eq!(verifier.next(&unsigned, NOW), Ok(()), "they are counted anew");
    assert_eq!(one_more.next(&unsigned, NOW), Err(Fault::TooManyUnsigned));
    // It is the count that speaks: the signature over a hundred is right.
    assert_eq!(one_more.next(&octets(AFTER_100), NOW), Ok(()));
}

#[test]
fn a_stream_that_was_touched_is_not_believed() {
    let key = key(Algorithm::Sha256);
    let all = STREAM_256.map(octets);
    let run = |messages: &[&Vec<u8>]| {
        let mut verifier = verifier(&key);
        messages.iter().try_for_each(|message| verifier.next(message, NOW))?;
        verifier.finish()
    };
    let [a, b, c, d, e] = &all;
    assert_eq!(run(&[a, b, c, d, e]), Ok(()));
    assert_eq!(run(&[a, c, b, d, e]), Err(Fault::WrongMac), "order");
    assert_eq!(run(&[a, b, d, e]), Err(Fault::WrongMac), "one left out");
    assert_eq!(run(&[a, b, b, c, d, e]), Err(Fault::WrongMac), "one twice");
    assert_eq!(run(&[a, e]), Err(Fault::WrongMac), "a signed one left out");
    assert_eq!(run(&[d, e]), Err(Fault::WrongMac), "the first one left out");
    assert_eq!(run(&[a, a]), Err(Fault::WrongMac), "again");
    assert_eq!(run(&[a, b, c]), Err(Fault::UnsignedEnd));
    assert_eq!(run(&[b, c, d, e]), Err(Fault::Unsigned(0)));
    assert_eq!(run(&[]), Err(Fault::UnsignedEnd));
}

#[test]
fn every_bit_counts() {
    let answer = octets(SIGNED_SINGLE_256);
    // Names are the same in either case; the id is the connection's to check.
    let record = octets(SINGLE).len();
    let is_letter =
        |at: usize| at >= record && answer[at].is_ascii_alphabetic() && at < record + 15 + 10 + 13;
    for at in 2..answer.len() {
        for bit in 0..8 {
            let mut touched = answer.clone();
            touched[at] ^= 1 << bit;
            let is_same = is_letter(at) && bit == 5;
            assert_eq!(only(&touched, NOW).is_ok(), is_same, "octet {at}, bit {bit}");
        }
    }
}

#[test]
fn truncated_at_every_length_or_with_more_it_is_not_believed() {
    let mut answer = octets(SIGNED_SINGLE_256);
    for length in 0..answer.len() {
        assert!(matches!(only(&answer[..length], NOW), Err(Fault::Malformed(_))), "{length}");
    }
    answer.push(0);
    assert_eq!(only(&answer, NOW), Err(Fault::Malformed("octets after the last record")));
}

#[test]
fn each_error_of_the_server_has_its_sentence() {
    for (answer, fault, words) in [
        (BAD_KEY, Fault::BadKey, "does not know the TSIG key (BADKEY)"),
        (BAD_SIG, Fault::BadSignature, "(BADSIG)"),
        (BAD_TIME, Fault::BadTime(1000), "(BADTIME): clock is off by 1000 seconds, behind the server's"),
        (BAD_TIME_UNSIGNED, Fault::BadTime(1000), "clock is off by 1000 seconds, behind the server's"),
        (BAD_TRUNC, Fault::BadTruncation, "(BADTRUNC)"),
        (BAD_OTHER, Fault::Other(21), "TSIG error 21"),
    ] {
        assert_eq!(only(&octets(answer), NOW), Err(fault.clone()));
        assert!(fault.to_string().contains(words), "{fault}");
    }
    // What is signed must be signed well.
    let mut touched = octets(BAD_TIME);
    *touched.last_mut().unwrap() ^= 1;
    assert_eq!(only(&touched, NOW), Err(Fault::WrongMac));
}

#[test]
fn an_answer_that_is_not_signed_as_it_should_be() {
    assert_eq!(only(&octets(SINGLE), NOW), Err(Fault::Unsigned(0)));
    let mut refused = octets(QUERY);
    refused[2..4].copy_from_slice(&[0x84, 5]);
    let refusal = only(&refused, NOW).unwrap_err();
    assert_eq!(refusal, Fault::Unsigned(5));
    let words =
        "the answer is not signed (TSIG), the query was; it says: refused (REFUSED); this public address";
    assert!(refusal.to_string().starts_with(words), "{refusal}");
    let words = "the answer is not signed (TSIG), the query was";
    assert_eq!(Fault::Unsigned(0).to_string(), words);
    assert_eq!(only(&octets(SHORT_MAC), NOW), Err(Fault::MacLength(16)));
    assert_eq!(only(&octets(OTHER_KEY), NOW), Err(Fault::OtherKey("other.example".to_owned())));
    assert_eq!(only(&octets(OTHER_ALGORITHM), NOW), Err(Fault::OtherKey("hmac-sha384".to_owned())));
    let other = Key::new(Name::from_ascii("fleet.example.").unwrap(), Algorithm::Sha256, &[7; 32]);
    assert_eq!(verifier(&other).only(&octets(SIGNED_SINGLE_256), NOW), Err(Fault::WrongMac));
    // The answer to another query.
    let key = key(Algorithm::Sha256);
    let later = sign(&mut octets(QUERY), &key, NOW + 1).unwrap();
    assert_eq!(later.only(&octets(SIGNED_SINGLE_256), NOW), Err(Fault::WrongMac));
    // A signed query sent back.
    assert_eq!(only(&octets(SIGNED_QUERY_256), NOW), Err(Fault::WrongMac));
}

#[test]
fn the_signature_is_of_now() {
    let answer = octets(SIGNED_SINGLE_256);
    let signed = NOW + 5;
    for (now, expected) in [
        (signed - 300, Ok(())),
        (signed + 300, Ok(())),
        (signed - 301, Err(Fault::OtherTime(301))),
        (signed + 301, Err(Fault::OtherTime(-301))),
        (0, Err(Fault::OtherTime(signed as i64))),
        (u64::MAX, Err(Fault::OtherTime(signed as i64 - i64::MAX))),
    ] {
        assert_eq!(only(&answer, now), expected, "{now}");
    }
    let sentence = Fault::OtherTime(-301).to_string();
    assert!(sentence.ends_with(": clock is off by 301 seconds, ahead of the server's"), "{sentence}");
}

#[test]
fn exactly_one_signature_and_at_the_end() {
    let answer = octets(SIGNED_SINGLE_256);
    let signature = &answer[octets(SINGLE).len()..];
    let count = |message: &mut Vec<u8>, [answers, additional]: [u8; 2]| {
        message[7] = answers;
        message[11] = additional;
    };
    let mut twice = [&answer, signature].concat();
    count(&mut twice, [3, 2]);
    assert_eq!(only(&twice, NOW), Err(Fault::Misplaced));
    let mut in_the_answer = answer.clone();
    count(&mut in_the_answer, [4, 0]);
    assert_eq!(only(&in_the_answer, NOW), Err(Fault::Misplaced));
    let mut followed = [&answer[..], b"\0\0\x01\0\x01\0\0\0\0\0\0"].concat();
    count(&mut followed, [3, 2]);
    assert_eq!(only(&followed, NOW), Err(Fault::Misplaced));
}

#[test]
fn what_is_no_query_is_not_signed() {
    let key = key(Algorithm::Sha256);
    for length in 0..12 {
        assert!(sign(&mut octets(QUERY)[..length].to_vec(), &key, NOW).is_err());
    }
    assert!(sign(&mut vec![0xff; 30], &key, NOW).is_err());
    assert!(sign(&mut vec![0; 65_480], &key, NOW).is_err());
}

/// A signer that joins all that is to be digested and has no state but the last MAC.
fn naive(messages: &[Vec<u8>], pattern: &[bool], key: &Key, request_mac: &[u8]) -> Vec<Vec<u8>> {
    let with_length = |mac: &[u8]| [&(mac.len() as u16).to_be_bytes(), mac].concat();
    let mut data = with_length(request_mac);
    let mut stream: Vec<Vec<u8>> = Vec::new();
    for (message, is_signed) in messages.iter().zip(pattern) {
        data.extend(message);
        let mut message = message.clone();
        if *is_signed {
            let name = b"\x05fleet\x07example\0";
            let timers = [&NOW.to_be_bytes()[2..], &[1, 44]].concat();
            if stream.is_empty() {
                data.extend(
                    [&name[..], &[0, 255, 0, 0, 0, 0], key.algorithm.wire(), &timers, &[0; 4]].concat(),
                );
            } else {
                data.extend(&timers);
            }
            let mac = hmac::sign(&key.secret, &data);
            let original_id = &message[..2].to_vec();
            let rdata =
                [key.algorithm.wire(), &timers, &with_length(mac.as_ref()), original_id, &[0; 4]].concat();
            message[11] = 1;
            message.extend([&name[..], &[0, 250, 0, 255, 0, 0, 0, 0, 0, rdata.len() as u8], &rdata].concat());
            data = with_length(mac.as_ref());
        }
        stream.push(message);
    }
    stream
}

proptest! {
    #[test]
    fn streams_of_any_pattern(
        pattern in vec(any::<bool>(), 1..150), sha512: bool, touched in proptest::option::of((0usize..150, 2usize..12)),
    ) {
        let key = key(if sha512 { Algorithm::Sha512 } else { Algorithm::Sha256 });
        let mut query = octets(QUERY);
        let mut verifier = sign(&mut query, &key, NOW).unwrap();
        let mac = key.secret.algorithm().digest_algorithm().output_len();
        let request_mac = query[query.len() - 6 - mac..query.len() - 6].to_vec();
        // Messages that are a header and a root question each.
        let messages: Vec<Vec<u8>> = (0..pattern.len() as u8)
            .map(|number| [&[0x12, 0x34, 0x84, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0][..], &[1, number, 0, 1]].concat())
            .collect();
        let mut stream = naive(&messages, &pattern, &key, &request_mac);
        let touched = touched.filter(|(number, _)| *number < stream.len());
        if let Some((number, at)) = touched {
            // A flag, or a count.
            stream[number][at] ^= 1;
        }
        let believed = stream.iter().all(|message| verifier.next(message, NOW).is_ok()) && verifier.finish().is_ok();
        let longest = pattern.split(|is_signed| *is_signed).map(<[bool]>::len).max().unwrap_or(0);
        let expected = pattern[0] && pattern[pattern.len() - 1] && longest <= 99 && touched.is_none();
        prop_assert_eq!(believed, expected);
    }

    #[test]
    fn any_octets_are_refused(message in vec(any::<u8>(), 0..200), rest in vec(any::<u8>(), 0..120)) {
        prop_assert!(only(&message, NOW).is_err());
        // A record that is nearly right.
        let mut answer = octets(SINGLE);
        answer[11] = 1;
        answer.extend(b"\x05fleet\x07example\0\0\xfa\0\xff\0\0\0\0");
        answer.extend((rest.len() as u16).to_be_bytes());
        answer.extend(&rest);
        prop_assert!(only(&answer, NOW).is_err());
    }
}
