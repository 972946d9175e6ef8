use super::*;
use crate::testing::{APL, answering, hosts, receive, serve};
use std::time::Duration;

fn config(addresses: &[SocketAddr], lists: &str) -> Config {
    let servers: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let text = format!("DNS_SERVERS=\"{}\"\nLIST_FORMAT=apl\n{lists}", servers.join(" "));
    Config::parse(text.as_bytes()).unwrap()
}

fn entries(chunks: Option<Vec<Chunk>>) -> Option<usize> {
    chunks.map(|chunks| chunks.iter().map(Chunk::entries).sum())
}

/// A server that answers every list with so many entries, but `failing` with that code.
fn server(count: u32, code: u8, failing: &'static str) -> Box<dyn FnOnce(std::net::TcpStream) + Send> {
    answering(move |list, _| if list == failing { (code, vec![]) } else { (0, vec![(APL, hosts(0..count))]) })
}

#[test]
fn one_connection_serves_both_tables() {
    let (address, thread) = serve(vec![server(3, 0, "")]);
    let config = config(&[address], "ALLOW_LIST=a.example\nBLOCK_LIST=\"b.example c.example\"");
    let mut client = Client::new(&config, Limits::default());
    assert_eq!(entries(client.table(Table::Allow)), Some(3));
    assert_eq!(entries(client.table(Table::Block)), Some(6));
    drop(client);
    thread.join().unwrap();
}

#[test]
fn a_table_without_lists_asks_nobody() {
    let config = config(&["127.0.0.1:1".parse().unwrap()], "BLOCK_LIST=b.example");
    let mut client = Client::new(&config, Limits::default());
    assert_eq!(client.table(Table::Allow), Some(Vec::new()));
}

#[test]
fn a_server_that_refuses_fails_or_goes_is_followed_by_the_next_for_the_whole_table() {
    for code in [2, 5] {
        // The first list is had from the first server, then refused there: both come from the second.
        let (first, first_thread) = serve(vec![server(100, code, "c.example")]);
        let (second, second_thread) = serve(vec![server(1, 0, "")]);
        let config = config(&[first, second], "BLOCK_LIST=\"b.example c.example\"");
        let mut client = Client::new(&config, Limits::default());
        assert_eq!(entries(client.table(Table::Block)), Some(2));
        drop(client);
        first_thread.join().unwrap();
        second_thread.join().unwrap();
    }
    let (first, first_thread) = serve(vec![Box::new(|mut stream| assert!(receive(&mut stream).is_some()))]);
    let (second, second_thread) = serve(vec![Box::new(|mut stream| while receive(&mut stream).is_some() {})]);
    let (nobody, no_thread) = serve(vec![]);
    no_thread.join().unwrap();
    let (last, last_thread) = serve(vec![server(1, 0, "")]);
    let config = config(&[first, second, nobody, last], "BLOCK_LIST=b.example");
    let limits = Limits { silence: Duration::from_secs(2), ..Limits::default() };
    let mut client = Client::new(&config, limits);
    assert_eq!(entries(client.table(Table::Block)), Some(1));
    drop(client);
    for thread in [first_thread, second_thread, last_thread] {
        thread.join().unwrap();
    }
}

#[test]
fn a_fault_of_the_list_is_not_asked_again_elsewhere() {
    let (first, first_thread) = serve(vec![server(1, 3, "b.example")]);
    let second: SocketAddr = "127.0.0.1:1".parse().unwrap();
    let config = config(&[first, second], "BLOCK_LIST=b.example");
    let mut client = Client::new(&config, Limits::default());
    assert_eq!(entries(client.table(Table::Block)), None);
    drop(client);
    first_thread.join().unwrap();
}

#[test]
fn the_other_table_goes_on_with_a_new_connection() {
    let (address, thread) = serve(vec![server(2, 5, "a.example"), server(2, 5, "a.example")]);
    let config = config(&[address], "ALLOW_LIST=a.example\nBLOCK_LIST=b.example");
    let mut client = Client::new(&config, Limits::default());
    assert_eq!(entries(client.table(Table::Allow)), None);
    assert_eq!(entries(client.table(Table::Block)), Some(2));
    drop(client);
    thread.join().unwrap();
}

#[test]
fn a_connection_that_was_closed_while_idle_is_made_again() {
    let once = |mut stream: std::net::TcpStream| {
        let query = receive(&mut stream).unwrap();
        crate::testing::send(&mut stream, &crate::testing::reply(&query, 0, &[(APL, hosts(0..2))]));
    };
    let (address, thread) = serve(vec![Box::new(once), Box::new(once)]);
    let config = config(&[address], "ALLOW_LIST=a.example\nBLOCK_LIST=b.example");
    let mut client = Client::new(&config, Limits::default());
    assert_eq!(entries(client.table(Table::Allow)), Some(2));
    assert_eq!(entries(client.table(Table::Block)), Some(2));
    thread.join().unwrap();
}
