//! Replays the corpus of every fuzz target, as it is and cut at some lengths.

use std::path::Path;

use tests::fuzz::TARGETS;

#[test]
fn every_target_takes_its_corpus() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/corpus");
    let mut folders: Vec<_> =
        std::fs::read_dir(&corpus).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    folders.sort();
    let mut names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    assert_eq!(folders, names, "a folder for each target");
    for (name, target) in TARGETS {
        let mut files = 0;
        for entry in std::fs::read_dir(corpus.join(name)).unwrap() {
            let octets = std::fs::read(entry.unwrap().path()).unwrap();
            target(&octets);
            for length in (0..octets.len()).step_by(octets.len() / 50 + 1) {
                target(&octets[..length]);
            }
            files += 1;
        }
        assert!(files > 0, "{name}: no corpus");
        println!("{name}: {files} files");
    }
}
