//! Makes the pf ioctls that it reads from standard input, one a line, and prints what came back, in the notation of `pf-vectors.txt`.
//!
//! Started as `pfcall openbsd` or `pfcall freebsd`: the layout it was "built for". Beside the notation's operations it knows
//! `fork OP`, `thread OP` (the operation in a child or a thread), `filter` (a seccomp filter of its own) and `hang`.
#![deny(unsafe_code)]

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, Write};
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use tests::pf::abi::{self, Addr, IocTable, Limit, Os, Table, flag, request};
use tests::pf::stats::{AddrStats, TableStats};

/// Elements of the buffers for answers, where the operation does not say.
const ADDRS: usize = 60_000;
const TABLES: usize = 64;

fn main() -> io::Result<()> {
    let os = match std::env::args().nth(1).as_deref() {
        Some("freebsd") => Os::FreeBsd,
        _ => Os::OpenBsd,
    };
    let mut device = None;
    for line in io::stdin().lock().lines() {
        let line = line?;
        let answer = match line.split_once(' ').unwrap_or((&line, "")) {
            ("open", mode) => {
                let opened = OpenOptions::new().read(true).write(mode != "ro").open("/dev/pf");
                let answer =
                    opened.as_ref().map_or_else(|error| format!("errno={}", name(error)), |_| "ok".into());
                device = opened.ok();
                answer
            }
            ("hang", _) => loop {
                std::thread::park();
            },
            ("filter", _) => {
                system::allow_all_filter().map_or_else(|error| error.to_string(), |()| "ok".into())
            }
            ("thread", operation) => std::thread::scope(|scope| {
                let running = scope.spawn(|| execute(os, device.as_ref(), operation));
                running.join().unwrap_or_default()
            }),
            ("fork", operation) => {
                io::stdout().flush()?;
                system::in_child(|| println!("{}", execute(os, device.as_ref(), operation)))?;
                continue;
            }
            _ => execute(os, device.as_ref(), &line),
        };
        println!("{answer}");
    }
    Ok(())
}

/// The words of an operation.
struct Words<'a>(HashMap<&'a str, &'a str>);

impl Words<'_> {
    fn text(&self, key: &str) -> &str {
        self.0.get(key).copied().unwrap_or("")
    }

    fn number(&self, key: &str) -> Option<i64> {
        let text = self.0.get(key)?;
        match text.strip_prefix("0x") {
            Some(digits) => i64::from_str_radix(digits, 16).ok(),
            None => text.parse().ok(),
        }
    }

    /// A count: absent or negative means the natural one.
    fn count(&self, key: &str, natural: usize) -> i32 {
        let count = self.number(key).filter(|count| *count >= 0).and_then(|count| i32::try_from(count).ok());
        count.unwrap_or_else(|| i32::try_from(natural).unwrap_or(i32::MAX))
    }
}

fn execute(os: Os, device: Option<&File>, line: &str) -> String {
    let mut words = line.split(' ');
    let operation = words.next().unwrap_or("");
    let words = Words(words.filter_map(|word| word.split_once('=')).collect());
    let Some(device) = device else { return "no device".into() };
    match operation {
        "getlimit" => limit(os, device, request::DIOCGETLIMIT, &words),
        "setlimit" => limit(os, device, request::DIOCSETLIMIT, &words),
        "addtables" => tables(device, request::DIOCRADDTABLES, &words),
        "deltables" => tables(device, request::DIOCRDELTABLES, &words),
        "clrtstats" => tables(device, request::DIOCRCLRTSTATS, &words),
        "gettables" => lists(os, device, request::DIOCRGETTABLES, abi::TABLE_SIZE, &words),
        "gettstats" => lists(os, device, request::DIOCRGETTSTATS, os.tstats_size(), &words),
        "clraddrs" => addrs(os, device, request::DIOCRCLRADDRS, &words),
        "addaddrs" => addrs(os, device, request::DIOCRADDADDRS, &words),
        "deladdrs" => addrs(os, device, request::DIOCRDELADDRS, &words),
        "setaddrs" => addrs(os, device, request::DIOCRSETADDRS, &words),
        "tstaddrs" => addrs(os, device, request::DIOCRTSTADDRS, &words),
        "getaddrs" => addrs(os, device, request::DIOCRGETADDRS, &words),
        "getastats" => addrs(os, device, request::DIOCRGETASTATS, &words),
        _ => format!("unknown operation {operation}"),
    }
}

fn limit(os: Os, device: &File, code: u32, words: &Words) -> String {
    let index = words.count("index", os.table_entries_index().try_into().unwrap_or(0));
    let limit = words.number("limit").and_then(|limit| u32::try_from(limit).ok()).unwrap_or(0);
    let mut octets = Limit { index, limit }.encode();
    let returned = system::ioctl(device, code, &mut octets);
    format!("{} limit={}", status(&returned), Limit::decode(&octets).map_or(0, |limit| limit.limit))
}

/// The table that the words name.
fn named(words: &Words) -> Table {
    let flags = words.number("tflags").and_then(|flags| u32::try_from(flags).ok()).unwrap_or(0);
    Table::new(words.text("anchor").as_bytes(), words.text("table").as_bytes(), flags)
}

/// One call with a `pfioc_table`: what the kernel left in it. `natural` is the size of an element and how many there are.
fn call(
    device: &File,
    code: u32,
    table: Table,
    words: &Words,
    buffer: &mut [u8],
    natural: (usize, usize),
) -> (String, IocTable) {
    let io = IocTable {
        table,
        buffer: buffer.as_mut_ptr() as u64,
        esize: words.count("esize", natural.0),
        size: words.count("size", natural.1),
        size2: words.count("size2", 0),
        nadd: 0,
        ndel: 0,
        nchange: 0,
        flags: words.number("flags").and_then(|flags| u32::try_from(flags).ok()).unwrap_or(0),
        ticket: 0,
    };
    let mut octets = io.encode();
    let returned = system::ioctl(device, code, &mut octets);
    (status(&returned), IocTable::decode(&octets).unwrap_or(io))
}

fn tables(device: &File, code: u32, words: &Words) -> String {
    let names: Vec<&str> = words.text("table").split(',').collect();
    let tables =
        names.iter().map(|name| Table { name: Table::new(b"", name.as_bytes(), 0).name, ..named(words) });
    let mut buffer: Vec<u8> = tables.flat_map(|table| table.encode()).collect();
    let filter = Table::new(b"", b"", 0);
    let (status, io) = call(device, code, filter, words, &mut buffer, (abi::TABLE_SIZE, names.len()));
    format!("{status} nadd={} ndel={} nchange={}", io.nadd, io.ndel, io.nchange)
}

fn lists(os: Os, device: &File, code: u32, esize: usize, words: &Words) -> String {
    let mut buffer = vec![0; TABLES * esize];
    let capacity = words.count("size", TABLES);
    let (status, io) = call(device, code, named(words), words, &mut buffer, (esize, TABLES));
    let mut answer = format!("{status} size={}", io.size);
    if status.starts_with("rc=0") && io.size <= capacity && code == request::DIOCRGETTSTATS {
        for stats in buffer.chunks(esize).take(io.size.try_into().unwrap_or(0)) {
            let Some(stats) = TableStats::decode(os, stats) else { continue };
            let name: String =
                stats.table.name.iter().take_while(|o| **o != 0).map(|o| char::from(*o)).collect();
            answer += &format!(
                " {name}:flags={:#x},cnt={},rules={},anchors={}",
                stats.table.flags, stats.count, stats.rules, stats.anchors
            );
        }
    }
    answer
}

fn addrs(os: Os, device: &File, code: u32, words: &Words) -> String {
    let esize = os.addr_size();
    let reads = matches!(code, request::DIOCRGETADDRS | request::DIOCRGETASTATS);
    let input = elements(os, words);
    let natural = match code {
        request::DIOCRGETADDRS | request::DIOCRGETASTATS => ADDRS,
        _ => input.len() / esize,
    };
    let element = match code {
        request::DIOCRGETASTATS => os.astats_size(),
        request::DIOCRCLRADDRS => 0,
        _ => esize,
    };
    let room = words.count("size", natural).max(words.count("size2", 0));
    let mut buffer = input;
    let wanted = element * usize::try_from(room).unwrap_or(0).max(natural);
    buffer.resize(wanted.max(buffer.len()), 0);
    let capacity = words.count("size", natural);
    let flags = words.number("flags").unwrap_or(0);
    let (status, io) = call(device, code, named(words), words, &mut buffer, (element, natural));
    if code == request::DIOCRCLRADDRS {
        return format!("{status} ndel={}", io.ndel);
    }
    let mut answer = format!(
        "{status} nadd={} ndel={} nchange={} size={} size2={}",
        io.nadd, io.ndel, io.nchange, io.size, io.size2
    );
    let feedback = code == request::DIOCRTSTADDRS || (!reads && flags & i64::from(flag::FEEDBACK) != 0);
    if status.starts_with("rc=0") && (feedback || reads && io.size <= capacity) {
        let shown = buffer.chunks(element).take(io.size.try_into().unwrap_or(0));
        let shown: Vec<String> = shown.map(|octets| show(os, code, octets, feedback)).collect();
        answer += &format!(" [{}]", shown.join(" "));
    }
    answer
}

/// The elements that the words `addrs` or `gen` and `off` describe.
fn elements(os: Os, words: &Words) -> Vec<u8> {
    if let Some(count) = words.number("gen") {
        let first = 11 << 24 | words.number("off").unwrap_or(0);
        let hosts = (first..first + count).map(|host| u32::try_from(host).unwrap_or(0).to_be_bytes());
        return hosts.flat_map(|host| element(os, IpAddr::from(host), 32, false).encode(os)).collect();
    }
    let list = words.text("addrs").split(',').filter(|item| !item.is_empty());
    list.flat_map(|item| parse(os, item).map_or_else(Vec::new, |addr| addr.encode(os))).collect()
}

fn element(os: Os, addr: IpAddr, net: u8, negated: bool) -> Addr {
    let mut octets = [0; 16];
    let af = match addr {
        IpAddr::V4(v4) => {
            octets.iter_mut().zip(v4.octets()).for_each(|(to, from)| *to = from);
            abi::AF_INET
        }
        IpAddr::V6(v6) => {
            octets = v6.octets();
            os.af_inet6()
        }
    };
    Addr { addr: octets, af, net, not: negated.into(), ..Addr::default() }
}

/// `[!]addr[/len][@field=n]...`
fn parse(os: Os, item: &str) -> Option<Addr> {
    let mut parts = item.split('@');
    let first = parts.next()?;
    let bare = first.trim_start_matches('!');
    let (addr, len) = bare.split_once('/').map_or((bare, None), |(addr, len)| (addr, Some(len)));
    let addr: IpAddr = addr.parse().ok()?;
    let whole = if addr.is_ipv4() { 32 } else { 128 };
    let len = len.map_or(Some(whole), |len| len.parse().ok())?;
    let mut addr = element(os, addr, len, bare.len() < first.len());
    for part in parts {
        let (field, value) = part.split_once('=')?;
        let value: u8 = value.parse().ok()?;
        match field {
            "net" => addr.net = value,
            "af" => addr.af = value,
            "fback" => addr.fback = value,
            "not" => addr.not = value,
            "type" => addr.kind = value,
            "byte15" => addr.addr[15] = value,
            _ => return None,
        }
    }
    Some(addr)
}

fn show(os: Os, code: u32, octets: &[u8], feedback: bool) -> String {
    let Some(addr) = Addr::decode(os, octets) else { return "?".into() };
    let [a, b, c, d, ..] = addr.addr;
    let ip = if addr.af == abi::AF_INET { IpAddr::from([a, b, c, d]) } else { IpAddr::from(addr.addr) };
    let mut text = format!("{}{ip}/{}", if addr.not == 0 { "" } else { "!" }, addr.net);
    if feedback {
        text += &format!("={}", addr.fback);
    }
    if let Some(stats) = AddrStats::decode(os, octets).filter(|_| code == request::DIOCRGETASTATS) {
        text += &format!("={}:{:?}:{:?}", stats.addr.fback, stats.packets, stats.bytes);
    }
    text
}

fn status(returned: &io::Result<()>) -> String {
    match returned {
        Ok(()) => "rc=0 errno=0".into(),
        Err(error) => format!("rc=-1 errno={}", name(error)),
    }
}

fn name(error: &io::Error) -> String {
    let errno = error.raw_os_error().map_or(nix::Error::UnknownErrno, nix::Error::from_raw);
    format!("{errno:?}")
}

/// The calls into the system.
#[allow(unsafe_code)]
mod system {
    use super::{AsRawFd, File, io};

    /// ioctl(2) with a structure behind the pointer.
    pub fn ioctl(device: &File, code: u32, octets: &mut [u8]) -> io::Result<()> {
        // SAFETY: the request's size is that of the structure in `octets`.
        match unsafe { libc::ioctl(device.as_raw_fd(), code.into(), octets.as_mut_ptr()) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }

    /// Runs `work` in a child process and waits for it.
    pub fn in_child(work: impl FnOnce()) -> io::Result<()> {
        // SAFETY: this program has a single thread when it forks.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                work();
                std::process::exit(0)
            }
            child => {
                let mut status = 0;
                // SAFETY: waits for our own child; `status` lives until the call returns.
                match unsafe { libc::waitpid(child, &raw mut status, 0) } {
                    -1 => Err(io::Error::last_os_error()),
                    _ => Ok(()),
                }
            }
        }
    }

    /// A seccomp filter such as a sandbox installs, on top of the one the program runs under.
    pub fn allow_all_filter() -> io::Result<()> {
        let code = (libc::BPF_RET | libc::BPF_K) as u16;
        let mut filter = libc::sock_filter { code, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW };
        let program = libc::sock_fprog { len: 1, filter: &raw mut filter };
        // SAFETY: `program` points at one instruction; both live until the calls return.
        let failed = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == -1
                || libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == -1
        };
        if failed { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}
