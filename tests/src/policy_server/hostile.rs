//! Wrong answers, made from right ones: what a broken or hostile name server sends.

use super::wire::{APL, Data, HEADER, Message, NOERROR, PTR, Question, Section, Style};

/// An answer without records and with this RCODE.
pub fn rcode(question: &Question, rcode: u8) -> Vec<u8> {
    Message::answer(question, rcode, Style::default()).finish()
}

/// The message with the TC bit set.
pub fn truncated(message: Vec<u8>) -> Vec<u8> {
    changed(message, 2, 0x02)
}

/// The message with an id far from its own, which no query nearby has.
pub fn wrong_id(message: Vec<u8>) -> Vec<u8> {
    changed(message, 0, 0x80)
}

/// The message as an answer to a question for another name of the same length.
pub fn wrong_name(message: Vec<u8>) -> Vec<u8> {
    // A letter of the first label becomes its neighbour, never its other case.
    changed(message, HEADER + 1, 0x01)
}

/// The message as an answer to a question for another type.
pub fn wrong_type(message: Vec<u8>, question: &Question) -> Vec<u8> {
    changed(message, question.end() - 3, 0x80)
}

/// The message as a query: QR clear.
pub fn not_an_answer(message: Vec<u8>) -> Vec<u8> {
    changed(message, 2, 0x80)
}

/// The octets of a message as they go over TCP: its length in front.
pub fn framed(message: &[u8]) -> Vec<u8> {
    // What is longer than a frame can be is cut to it.
    let message = message.get(..usize::from(u16::MAX)).unwrap_or(message);
    [&(message.len() as u16).to_be_bytes(), message].concat()
}

/// The first octets of a framed message, `length` counting the frame's own two: the connection breaks inside it.
pub fn cut(message: &[u8], length: usize) -> Vec<u8> {
    let mut octets = framed(message);
    octets.truncate(length);
    octets
}

/// A message whose frame promises `more` octets than follow.
pub fn short_frame(message: &[u8], more: u16) -> Vec<u8> {
    let mut octets = framed(message);
    let promised = (message.len() as u16).saturating_add(more);
    octets[..2].copy_from_slice(&promised.to_be_bytes());
    octets
}

/// An answer whose records belong to another name than the one that was asked for.
pub fn other_owner(question: &Question, owner: &str, data: &[Data]) -> Vec<u8> {
    answer(question, owner, data)
}

/// An answer with one APL record of these octets: items cut short, lengths past the end, unknown families.
pub fn apl(question: &Question, rdata: &[u8]) -> Vec<u8> {
    answer(question, &question.name, &[Data::Other(APL, rdata.to_vec())])
}

/// An answer with one PTR record whose name is these octets. Offsets in it count from the message's start; the name
/// itself starts at `ptr_rdata_offset`.
pub fn ptr(question: &Question, name: &[u8]) -> Vec<u8> {
    answer(question, &question.name, &[Data::Other(PTR, name.to_vec())])
}

/// Where the name of the answer that `ptr` makes starts: after the question, a pointer as owner, and ten octets.
pub fn ptr_rdata_offset(question: &Question) -> u16 {
    (question.end() + 2 + 10) as u16
}

/// An answer with one PTR record whose name is a pointer to itself.
pub fn pointer_to_itself(question: &Question) -> Vec<u8> {
    ptr(question, &(0xc000 | ptr_rdata_offset(question)).to_be_bytes())
}

/// An answer with one PTR record whose name is two pointers to each other.
pub fn pointer_circle(question: &Question) -> Vec<u8> {
    let at = 0xc000 | ptr_rdata_offset(question);
    ptr(question, &[(at + 2).to_be_bytes(), at.to_be_bytes()].concat())
}

/// An answer with one PTR record whose name points past the end of the message.
pub fn pointer_past_end(question: &Question) -> Vec<u8> {
    ptr(question, &[0xff, 0xff])
}

/// An answer with one record whose owner is a pointer to itself.
pub fn owner_loop(question: &Question) -> Vec<u8> {
    let mut message = hollow(question, 1);
    let at = 0xc000 | question.end() as u16;
    message.extend(at.to_be_bytes());
    message.extend(b"\0\x01\0\x01\0\0\x01\x2c\0\x04\xc0\0\x02\x01");
    message
}

/// An answer that counts `count` records and has none.
pub fn hollow(question: &Question, count: u16) -> Vec<u8> {
    let mut message = rcode(question, NOERROR);
    message[6..8].copy_from_slice(&count.to_be_bytes());
    message
}

fn answer(question: &Question, owner: &str, data: &[Data]) -> Vec<u8> {
    let mut message = Message::answer(question, NOERROR, Style::default());
    for data in data {
        message.push(Section::Answer, owner, data);
    }
    message.finish()
}

fn changed(mut message: Vec<u8>, at: usize, bits: u8) -> Vec<u8> {
    if let Some(octet) = message.get_mut(at) {
        *octet ^= bits;
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question() -> Question {
        Question::parse(b"\0\x07\0\0\0\x01\0\0\0\0\0\0\x04list\x01x\0\0\x0c\0\x01").unwrap()
    }

    #[test]
    fn each_fault_is_where_it_should_be() {
        let question = question();
        let good = rcode(&question, NOERROR);
        assert_eq!(good, b"\0\x07\x84\0\0\x01\0\0\0\0\0\0\x04list\x01x\0\0\x0c\0\x01");
        assert_eq!(truncated(good.clone())[..4], *b"\0\x07\x86\0");
        assert_eq!(wrong_id(good.clone())[..4], *b"\x80\x07\x84\0");
        assert_eq!(not_an_answer(good.clone())[..4], *b"\0\x07\x04\0");
        assert_eq!(wrong_name(good.clone())[12..], *b"\x04mist\x01x\0\0\x0c\0\x01");
        assert_eq!(wrong_type(good.clone(), &question)[12..], *b"\x04list\x01x\0\0\x8c\0\x01");
        assert_eq!(rcode(&question, 5)[3], 5);
        assert_eq!(hollow(&question, 3)[4..12], *b"\0\x01\0\x03\0\0\0\0");
        assert_eq!(cut(&good, 3), b"\0\x18\0");
        assert_eq!(short_frame(&good, 9)[..3], *b"\0\x21\0");
    }

    #[test]
    fn pointers_point_where_they_should() {
        let question = question();
        let head = b"\xc0\x0c\0\x0c\0\x01\0\0\x01\x2c";
        assert_eq!(ptr_rdata_offset(&question), 36);
        assert_eq!(pointer_to_itself(&question)[24..], [&head[..], &[0, 2, 0xc0, 36]].concat());
        assert_eq!(pointer_circle(&question)[24..], [&head[..], &[0, 4, 0xc0, 38, 0xc0, 36]].concat());
        assert_eq!(owner_loop(&question)[24..26], [0xc0, 24]);
        assert_eq!(pointer_past_end(&question)[24..], [&head[..], &[0, 2, 0xff, 0xff]].concat());
        assert_eq!(apl(&question, &[0, 1])[24..], *b"\xc0\x0c\0\x2a\0\x01\0\0\x01\x2c\0\x02\0\x01");
        assert_eq!(
            other_owner(&question, "y", &[Data::Apl(Vec::new())])[24..],
            *b"\x01y\0\0\x2a\0\x01\0\0\x01\x2c\0\0"
        );
    }
}
