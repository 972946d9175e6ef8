use super::*;
use proptest::prelude::*;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

const HEADER: &str = "# tspf 1 block\n# settings 0123456789abcdef\n";

fn refused(text: &str) -> String {
    parse(text.as_bytes(), Table::Block).unwrap_err()
}

fn body(text: &str) -> String {
    refused(&format!("{HEADER}{text}"))
}

#[test]
fn takes_what_the_grammar_says() {
    let text = format!(
        "{HEADER}# soa org.threatstop.local. 2026112101\n# soa b. 0\n192.0.2.0/24\n198.51.100.7/32\n2001:db8::1/128\n# end 3\n"
    );
    let set = parse(text.as_bytes(), Table::Block).unwrap();
    assert_eq!(
        set.iter().map(|net| net.to_string()).collect::<Vec<_>>(),
        ["192.0.2.0/24", "198.51.100.7/32", "2001:db8::1/128"]
    );
    assert!(parse(format!("{HEADER}# end 0\n").as_bytes(), Table::Block).unwrap().is_empty());
}

#[test]
fn refuses_what_is_no_canonical_prefix() {
    for line in [
        "self",
        "em0",
        "example.com",
        "!",
        "!192.0.2.0/24",
        "",
        " 192.0.2.0/24",
        "192.0.2.0/24 ",
        "192.0.2.0/24\r",
    ] {
        assert!(body(&format!("{line}\n# end 1\n")).starts_with("line 3: not a "), "{line}");
    }
    for line in ["192.0.2.1/24", "2001:db8::1/64"] {
        assert_eq!(body(&format!("{line}\n# end 1\n")), "line 3: address bits set beyond the prefix length");
    }
    for line in ["192.0.2.1", "2001:DB8::/32", "2001:db8:0::/32"] {
        assert_eq!(body(&format!("{line}\n# end 1\n")), "line 3: not in canonical form");
    }
    assert_eq!(body("::ffff:192.0.2.1/128\n# end 1\n"), "line 3: an IPv4 address mapped into IPv6");
    assert_eq!(body("fe80::1%em0/128\n# end 1\n"), "line 3: not a numeric prefix");
}

#[test]
fn refuses_another_order() {
    assert_eq!(body("192.0.2.0/24\n192.0.1.0/24\n# end 2\n"), "line 4: not in ascending order");
    assert_eq!(body("192.0.2.0/24\n192.0.2.0/24\n# end 2\n"), "line 4: twice in the list");
    assert_eq!(body("192.0.2.0/24\n192.0.2.128/25\n# end 2\n"), "line 4: inside the prefix before it");
    assert_eq!(body("2001:db8::/32\n192.0.2.0/24\n# end 2\n"), "line 4: IPv4 after IPv6");
}

#[test]
fn refuses_a_wrong_frame() {
    assert_eq!(refused(""), "ends after line 0 without \"# end\": cut off");
    assert_eq!(refused("192.0.2.0/24\n"), "line 1: not \"# tspf 1 block\"");
    assert_eq!(refused("# tspf 1 allow\n"), "line 1: not \"# tspf 1 block\"");
    assert_eq!(refused("# tspf 2 block\n"), "line 1: not \"# tspf 1 block\"");
    for settings in [
        "",
        "# settings 0123456789abcde\n",
        "# settings 0123456789ABCDEF\n",
        "# settings 0123456789abcdef0\n",
    ] {
        assert!(
            parse(format!("# tspf 1 block\n{settings}# end 0\n").as_bytes(), Table::Block).is_err(),
            "{settings}"
        );
    }
    for soa in [
        "# soa \n",
        "# soa a\n",
        "# soa a -1\n",
        "# soa a 01\n",
        "# soa a 4294967296\n",
        "# soa a 1 2\n",
        "# soa  a 1\n",
        "# soa \x07 1\n",
    ] {
        assert_eq!(body(soa), "line 3: not \"# soa\", a name and a serial", "{soa:?}");
    }
    assert_eq!(body("192.0.2.0/24\n# soa a 1\n# end 1\n"), "line 4: not \"# end 1\", after as many prefixes");
    assert_eq!(body("192.0.2.0/24\n"), "ends after line 3 without \"# end\": cut off");
    assert_eq!(body("192.0.2.0/24\n# end 2\n"), "line 4: not \"# end 1\", after as many prefixes");
    assert_eq!(body("192.0.2.0/24\n# end 01\n"), "line 4: not \"# end 1\", after as many prefixes");
    assert_eq!(body("# end 0\n\n"), "line 4: text after \"# end\"");
    assert_eq!(body("# end 0"), "line 3: no end of line: cut off");
    assert_eq!(body(&"1".repeat(1 << 20)), "line 3: too long");
    assert_eq!(body(&format!("# soa {} 1\n", "a".repeat(2000))), "line 3: too long");
    assert_eq!(body(&"# soa a 1\n".repeat(1001)), "line 1003: not \"# soa\", a name and a serial");
}

#[test]
fn refuses_a_file_cut_at_any_place() {
    let whole = format!("{HEADER}# soa a. 7\n192.0.2.0/24\n2001:db8::/32\n# end 2\n");
    assert!(parse(whole.as_bytes(), Table::Block).is_ok());
    for length in 0..whole.len() {
        assert!(parse(&whole.as_bytes()[..length], Table::Block).is_err(), "{length}");
    }
}

proptest! {
    #[test]
    fn takes_only_what_comes_back(mut text in proptest::collection::vec(any::<u8>(), 0..200), at in 0usize..60, octet: u8) {
        let mut whole = format!("{HEADER}192.0.2.0/24\n2001:db8::/32\n# end 2\n").into_bytes();
        if let Some(old) = whole.get_mut(at) {
            *old = octet;
        }
        if let Ok(set) = parse(&whole[..], Table::Block) {
            let written: String = set.iter().map(|net| format!("{net}\n")).collect();
            let end = format!("{written}# end {}\n", set.len());
            prop_assert!(whole.ends_with(end.as_bytes()));
        }
        text.splice(0..0, HEADER.bytes());
        prop_assert!(parse(&text[..], Table::Block).is_err());
    }
}

#[test]
fn opens_only_a_plain_file_of_the_right_owner() {
    let directory = std::env::temp_dir().join(format!("tspf-spool-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory).unwrap();
    let make = |name: &str| -> PathBuf { directory.join(name) };
    let me = nix::unistd::geteuid();
    let cause = |path: &Path| open(path, me).unwrap_err().cause().to_owned();

    let plain = make("plain");
    assert_eq!(cause(&plain), "no policy there yet; run tsfetch");
    std::fs::write(&plain, "x").unwrap();
    assert!(open(&plain, me).is_ok());
    let other = Uid::from_raw(me.as_raw() + 1);
    assert_eq!(
        open(&plain, other).unwrap_err().cause(),
        format!("owned by uid {me}, not by the fetcher's, {other}")
    );

    symlink(&plain, make("link")).unwrap();
    assert_eq!(cause(&make("link")), "a symbolic link");
    nix::unistd::mkfifo(&make("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(cause(&make("fifo")), "not a regular file");
    assert_eq!(cause(&directory), "not a regular file");
    assert_eq!(cause(Path::new("/dev/null")), "not a regular file");
    std::fs::File::create(make("sparse")).unwrap().set_len(10 << 30).unwrap();
    assert_eq!(cause(&make("sparse")), "larger than 536870912 octets");
    std::fs::hard_link(&plain, make("second")).unwrap();
    assert_eq!(cause(&plain), "has 2 names");
    std::fs::remove_dir_all(&directory).unwrap();
}

/// A descriptor is one file: whatever becomes of the name, and of the size, meanwhile.
#[test]
fn reads_the_file_that_it_opened_as_it_is_then() {
    let path = std::env::temp_dir().join(format!("tspf-spool-moving-{}", std::process::id()));
    let me = nix::unistd::geteuid();
    let whole = format!("{HEADER}192.0.2.0/24\n2001:db8::/32\n# end 2\n");
    let after = |change: &dyn Fn()| {
        let _ = std::fs::remove_file(&path);
        std::fs::write(&path, &whole).unwrap();
        let file = open(&path, me).unwrap();
        change();
        read(file, &path, Table::Block).map(|set| set.len()).map_err(|error| error.cause().to_owned())
    };
    let cut = |length| std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length).unwrap();
    assert_eq!(after(&|| ()), Ok(2));
    assert_eq!(after(&|| cut(60)), Err("line 4: no end of line: cut off".to_owned()), "shrunk");
    assert_eq!(after(&|| cut(0)), Err("ends after line 0 without \"# end\": cut off".to_owned()));
    // Grown, by ten terabytes if need be.
    assert_eq!(after(&|| cut(10 << 40)), Err("line 6: too long".to_owned()));
    let grow = || std::fs::write(&path, format!("{whole}192.0.3.0/24\n")).unwrap();
    assert_eq!(after(&grow), Err("line 6: text after \"# end\"".to_owned()));
    let swap = || {
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "another file").unwrap();
    };
    assert_eq!(after(&swap), Ok(2), "another file under its name");
    std::fs::remove_file(&path).unwrap();
}
