//! Hands libFuzzer's input to the target that the environment variable `TARGET` names.
#![no_main]

use std::sync::OnceLock;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| {
    static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();
    let target = TARGET.get_or_init(|| {
        let wanted = std::env::var("TARGET").expect("TARGET names the target");
        let found = tests::fuzz::TARGETS.iter().find(|(name, _)| *name == wanted);
        found.unwrap_or_else(|| panic!("{wanted}: no such target")).1
    });
    target(octets);
});
