//! What `pfctl -f` does with the part of pf.conf(5) that concerns tables: definitions, rules that refer to them, one limit.
//!
//! Everything else in a rule is taken as it is; only `<name>` is looked at.
#![forbid(unsafe_code)]

use super::abi::{Os, tflag};
use super::entries::{Prefix, Wanted};
use super::kernel::{DEFAULT_ENTRIES, Kernel, TableId};
use std::collections::BTreeSet;
use std::net::IpAddr;

const NOT_LOADED: &str = "pfctl: Syntax error in config file: pf rules not loaded";

/// A `table` line.
struct Definition {
    line: usize,
    name: String,
    flags: u32,
    /// Absent: the table keeps what it has.
    contents: Option<Vec<(Prefix, bool)>>,
}

#[derive(Default)]
struct Ruleset {
    tables: Vec<Definition>,
    references: Vec<TableId>,
    limit: Option<u32>,
}

/// Loads a main ruleset, or leaves everything as it was and returns what pfctl prints.
pub fn load(kernel: &mut Kernel, text: &str, now: i64) -> Result<(), String> {
    let mut problems = Vec::new();
    let ruleset = parse(text, &mut problems);
    // pfctl hands the tables to the kernel while it parses: a shadow of each, beside all that is loaded.
    let mut pending = 0;
    for table in &ruleset.tables {
        let unique: BTreeSet<&Prefix> = table.contents.iter().flatten().map(|(prefix, _)| prefix).collect();
        let most = usize::try_from(kernel.request_maxcount).unwrap_or(usize::MAX);
        let refusal =
            if kernel.os == Os::FreeBsd && table.contents.as_ref().is_some_and(|list| list.len() > most) {
                "too many elements. Consider increasing net.pf.request_maxcount."
            } else if unique.len() > kernel.room(pending) {
                "Cannot allocate memory"
            } else {
                pending += unique.len();
                continue;
            };
        problems.push(format!("stdin:{}: cannot define table {}: {refusal}", table.line, table.name));
    }
    if !problems.is_empty() {
        problems.push(NOT_LOADED.into());
        return Err(problems.join("\n"));
    }
    let limit = ruleset.limit.unwrap_or(DEFAULT_ENTRIES);
    if kernel.set_limit(kernel.os.table_entries_index(), limit, pending).is_err() {
        return Err(format!("pfctl: Current pool size exceeds requested table-entries limit {limit}"));
    }
    let ids: Vec<TableId> = ruleset.tables.iter().map(|table| TableId::new("", &table.name)).collect();
    kernel.replace_rules(ruleset.references, &ids, now);
    for (table, id) in ruleset.tables.into_iter().zip(ids) {
        let contents = table.contents.map(|list| {
            list.into_iter().zip(0..).map(|((prefix, not), at)| Wanted::plain(prefix, not, at)).collect()
        });
        kernel.commit_table(&id, table.flags, contents, now);
    }
    Ok(())
}

fn parse(text: &str, problems: &mut Vec<String>) -> Ruleset {
    let mut ruleset = Ruleset::default();
    let mut continued = String::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if let Some(part) = line.strip_suffix('\\') {
            continued += part;
            continue;
        }
        let line = std::mem::take(&mut continued) + line;
        let words = words(&line);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let done = match words.as_slice() {
            [] => Ok(()),
            ["table", name, options @ ..] => {
                define(number + 1, name, options).map(|table| ruleset.tables.push(table))
            }
            ["set", "limit", rest @ ..] => {
                rest.windows(2).filter(|pair| pair.first() == Some(&"table-entries")).try_for_each(|pair| {
                    let value = pair.last().and_then(|value| value.parse().ok()).ok_or("syntax error")?;
                    ruleset.limit = Some(value);
                    Ok(())
                })
            }
            ["set", ..] => Ok(()),
            ["pass" | "block" | "match", rest @ ..] => {
                let names = rest.iter().filter_map(|word| table_name(word));
                ruleset.references.extend(names.map(|name| TableId::new("", name)));
                Ok(())
            }
            _ => Err("syntax error".into()),
        };
        if let Err(problem) = done {
            problems.push(format!("stdin:{}: {problem}", number + 1));
        }
    }
    ruleset
}

/// Words, with braces, commas and quoted strings as words of their own; a quoted string keeps its first quote.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for character in line.chars() {
        match character {
            '"' => {
                quoted = !quoted;
                words.push(if quoted { "\"".into() } else { String::new() });
            }
            _ if quoted => words.last_mut().into_iter().for_each(|word| word.push(character)),
            '{' | '}' | ',' => words.extend([character.into(), String::new()]),
            _ if character.is_whitespace() => words.push(String::new()),
            _ => words.last_mut().into_iter().for_each(|word| word.push(character)),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn table_name(word: &str) -> Option<&str> {
    let name =
        word.trim_start_matches('!').strip_prefix('<')?.trim_end_matches([')', ']']).strip_suffix('>')?;
    (!name.is_empty() && name.len() < 32).then_some(name)
}

fn define(line: usize, name: &str, options: &[&str]) -> Result<Definition, String> {
    let name = table_name(name).ok_or("syntax error")?.to_string();
    let mut table = Definition { line, name, flags: 0, contents: None };
    let mut options = options.iter();
    while let Some(option) = options.next() {
        match *option {
            "persist" => table.flags |= tflag::PERSIST,
            "const" => table.flags |= tflag::CONST,
            "counters" => table.flags |= tflag::COUNTERS,
            "file" => {
                let path = options.next().ok_or("syntax error")?.trim_start_matches('"');
                let content = std::fs::read(path)
                    .map_err(|error| format!("cannot load \"{path}\": {}", nix_words(&error)))?;
                let content = String::from_utf8_lossy(&content);
                let bare = content.lines().map(|line| line.split('#').next().unwrap_or_default());
                let prefixes = bare.flat_map(str::split_whitespace).map(prefix);
                let prefixes: Option<Vec<_>> = prefixes.collect();
                let prefixes = prefixes.ok_or_else(|| format!("file \"{path}\" contains bad data"))?;
                table.contents.get_or_insert_default().extend(prefixes);
            }
            "{" => {
                let list = table.contents.get_or_insert_default();
                let mut negated = false;
                loop {
                    match *options.next().ok_or("syntax error")? {
                        "}" => break,
                        "," => {}
                        "!" => negated = true,
                        word => {
                            let (prefix, not) =
                                prefix(word).ok_or_else(|| format!("no IP address found for {word}"))?;
                            list.push((prefix, not != std::mem::take(&mut negated)));
                        }
                    }
                }
            }
            _ => return Err("syntax error".into()),
        }
    }
    Ok(table)
}

/// strerror(3)'s words without Rust's number behind them.
fn nix_words(error: &std::io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), |code| nix::Error::from_raw(code).desc().into())
}

/// A numeric prefix, with `!` if it is negated. pfctl clears host bits.
fn prefix(word: &str) -> Option<(Prefix, bool)> {
    let bare = word.trim_start_matches('!');
    let negated = (word.len() - bare.len()) % 2 == 1;
    let (addr, len) = match bare.split_once('/') {
        Some((addr, len)) => (addr, Some(len.parse().ok()?)),
        None => (bare, None),
    };
    let addr: IpAddr = addr.parse().ok()?;
    Some((Prefix::new(addr, len.unwrap_or(Prefix::host(addr).max_len()))?, negated))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(kernel: &Kernel, name: &str) -> Option<Vec<String>> {
        let table = kernel.table(&TableId::new("", name))?;
        let text = |entry: &super::super::entries::Entry| {
            format!("{}{}", if entry.negated { "!" } else { "" }, entry.prefix)
        };
        Some(table.entries.as_slice().iter().map(text).collect())
    }

    /// A file of that content, removed at the end.
    struct File(std::path::PathBuf);

    impl File {
        fn new(name: &str, content: &str) -> File {
            let path = std::env::temp_dir().join(format!("tspf-ruleset-{}-{name}", std::process::id()));
            std::fs::write(&path, content).unwrap();
            File(path)
        }
    }

    impl Drop for File {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    #[test]
    fn files_and_lists_replace_what_a_table_has() {
        let file = File::new("good", "# a comment\n10.0.0.0/8 !10.0.2.0/24\n192.0.2.1\n2001:db8::1/32\n");
        let mut kernel = Kernel::new(Os::OpenBsd);
        let text = format!(
            "table <t> persist counters file \"{}\"\ntable <u> const {{ 10.9.0.0/16, !10.9.1.1 }}\nblock in log quick from {{ <t>, !<u> }} \\\n to any\npass",
            file.0.display()
        );
        load(&mut kernel, &text, 1).unwrap();
        assert_eq!(
            list(&kernel, "t").unwrap(),
            ["10.0.0.0/8", "!10.0.2.0/24", "192.0.2.1/32", "2001:db8::/32"]
        );
        assert_eq!(list(&kernel, "u").unwrap(), ["10.9.0.0/16", "!10.9.1.1/32"]);
        assert_eq!(kernel.table(&TableId::new("", "u")).unwrap().flags, 0x16);
        load(&mut kernel, "table <t> persist {}\npass", 1).unwrap();
        assert_eq!(list(&kernel, "t").unwrap(), [""; 0]);
        assert_eq!(list(&kernel, "u"), None);
    }

    #[test]
    fn one_bad_file_or_line_refuses_the_whole_ruleset() {
        let mut kernel = Kernel::new(Os::OpenBsd);
        load(&mut kernel, "table <t> persist { 10.0.0.1 }\nblock from <t>", 1).unwrap();
        for content in ["example.com", "self", "10.0.0.1/33", "10.0.0.1 lo0"] {
            let file = File::new("bad", content);
            let text =
                format!("table <t> persist {{ 10.0.0.2 }}\ntable <v> file \"{}\"\npass", file.0.display());
            let printed = load(&mut kernel, &text, 1).unwrap_err();
            assert_eq!(
                printed,
                format!("stdin:2: file \"{}\" contains bad data\n{NOT_LOADED}", file.0.display())
            );
        }
        for text in [
            "frobnicate",
            "table t persist",
            "table <t> { 10.0.0.1",
            "table <t> file",
            "set limit table-entries x",
        ] {
            assert_eq!(
                load(&mut kernel, text, 1).unwrap_err(),
                format!("stdin:1: syntax error\n{NOT_LOADED}")
            );
        }
        assert_eq!(list(&kernel, "t").unwrap(), ["10.0.0.1/32"]);
        assert_eq!(kernel.table(&TableId::new("", "t")).unwrap().rules, 1);
    }

    #[test]
    fn a_reload_needs_room_for_a_shadow_of_every_table() {
        let mut kernel = Kernel::new(Os::OpenBsd);
        load(&mut kernel, "set limit table-entries 3\ntable <t> persist { 10.0.0.1 10.0.0.2 }", 1).unwrap();
        let printed =
            load(&mut kernel, "set limit table-entries 3\ntable <t> persist { 10.0.0.1 10.0.0.2 }", 1)
                .unwrap_err();
        assert_eq!(printed, format!("stdin:2: cannot define table t: Cannot allocate memory\n{NOT_LOADED}"));
        let printed = load(&mut kernel, "set limit table-entries 1\npass", 1).unwrap_err();
        assert_eq!(printed, "pfctl: Current pool size exceeds requested table-entries limit 1");
        load(&mut kernel, "pass", 1).unwrap();
        assert_eq!(kernel.limit(4), Ok(DEFAULT_ENTRIES));
    }
}
