use super::*;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

const FORM: &str = "--b\r\nContent-Disposition: form-data; name=\"device_id\"\r\n\r\ntdid_1\r\n--b\r\n\
    Content-Disposition: form-data; name=\"file\"; filename=\"pflog.txt\"\r\nContent-Type: text/plain\r\n\r\n\
    12:00:00 block\r\n--b--\r\n";

type Stream = StreamOwned<ClientConnection, TcpStream>;

/// A directory that goes away with its test.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tspf-log-server-{}-{name}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Directory(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn connect(server: &LogServer, name: &str) -> Stream {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(server.ca_file()).unwrap()).unwrap();
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port())).unwrap();
    StreamOwned::new(ClientConnection::new(Arc::new(tls), name).unwrap(), socket)
}

fn post(headers: &str, body: &str) -> String {
    format!(
        "POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n{headers}\r\n{body}"
    )
}

fn whole() -> String {
    post(&format!("Content-Length: {}\r\nIdempotency-Key: k1\r\n", FORM.len()), FORM)
}

/// Sends a request and gives the answer's head and body.
fn ask(stream: &mut Stream, request: &str) -> io::Result<(String, String)> {
    stream.write_all(request.as_bytes())?;
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
    let (_, length) = head.split_once("Content-Length: ").unwrap();
    let mut body = vec![0; length.split_once("\r\n").unwrap().0.parse().unwrap()];
    reader.read_exact(&mut body)?;
    Ok((head, String::from_utf8(body).unwrap()))
}

#[test]
fn an_upload_is_taken_apart() {
    let directory = Directory::new("upload");
    let server = LogServer::start(&directory.0).unwrap();
    assert_eq!(server.url("/upload"), format!("https://localhost:{}/upload", server.port()));
    for name in ["localhost", "127.0.0.1", "::1"] {
        let (head, body) = ask(&mut connect(&server, name), &whole()).unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"));
        assert_eq!(body, "ok\n");
    }
    let chunked: String = FORM
        .as_bytes()
        .chunks(7)
        .map(|chunk| format!("{:x}\r\n{}\r\n", chunk.len(), String::from_utf8_lossy(chunk)))
        .collect();
    let mut stream = connect(&server, "localhost");
    for _ in 0..2 {
        ask(&mut stream, &post("Transfer-Encoding: chunked\r\n", &format!("{chunked}0\r\n\r\n"))).unwrap();
    }
    let uploads = server.uploads();
    assert_eq!((uploads.len(), server.accepted().len(), server.connections()), (5, 5, 4));
    assert_eq!(uploads[0].idempotency_key(), Some("k1"));
    assert_eq!(uploads[4].idempotency_key(), None);
    for upload in uploads {
        assert_eq!((upload.id_field.as_str(), upload.device_id.as_str()), ("device_id", "tdid_1"));
        assert_eq!((upload.file_field.as_str(), upload.file_name.as_str()), ("file", "pflog.txt"));
        assert_eq!(upload.content_type.as_deref(), Some("text/plain"));
        assert_eq!(upload.content, b"12:00:00 block");
        assert_eq!(upload.request.path, "/upload");
    }
    assert_eq!(server.faults(), [""; 0]);
}

#[test]
fn it_answers_as_told() {
    let directory = Directory::new("answers");
    let server = LogServer::start(&directory.0).unwrap();
    server.set_behaviour(|request| match request.number {
        0 => Reply::Status(503),
        1 => Reply::Redirect("https://localhost:1/".to_owned()),
        2 => Reply::Late(Duration::from_millis(1)),
        3 => Reply::Slow { piece: 50, pause: Duration::from_millis(1) },
        4 => Reply::LoseAnswer,
        5 => Reply::CloseAfter(100),
        6 => Reply::CloseAfter(usize::MAX),
        _ => Reply::Accept,
    });
    let mut stream = connect(&server, "localhost");
    assert!(ask(&mut stream, &whole()).unwrap().0.starts_with("HTTP/1.1 503 "));
    let (head, _) = ask(&mut stream, &whole()).unwrap();
    assert!(head.starts_with("HTTP/1.1 302 ") && head.contains("\r\nLocation: https://localhost:1/\r\n"));
    assert!(ask(&mut stream, &whole()).unwrap().0.starts_with("HTTP/1.1 200 "));
    assert!(ask(&mut stream, &whole()).unwrap().0.starts_with("HTTP/1.1 200 "));
    assert!(ask(&mut stream, &whole()).is_err());
    assert!(ask(&mut connect(&server, "localhost"), &whole()).is_err());
    assert!(ask(&mut connect(&server, "localhost"), &whole()).is_err());
    assert!(ask(&mut connect(&server, "localhost"), &whole()).is_ok());
    let statuses: Vec<Option<u16>> = server.uploads().iter().map(|upload| upload.status).collect();
    assert_eq!(statuses, [Some(503), Some(302), Some(200), Some(200), None, Some(200)]);
    assert_eq!((server.accepted().len(), server.requests().len()), (4, 8));
}

#[test]
fn bent_requests_are_named() {
    let directory = Directory::new("bent");
    let server = LogServer::start(&directory.0).unwrap();
    let length = |body: &str| format!("Content-Length: {}\r\n", body.len());
    let one_part = FORM.split_once("\r\n--b\r\n").unwrap().0.to_owned() + "\r\n--b--\r\n";
    for (request, fault) in [
        (post("", FORM), "body: neither content-length nor chunked"),
        (post(&length(&one_part), &one_part), "form: not two parts"),
        (
            post(&length(FORM), FORM).replace("boundary=b", "boundary=x"),
            "form: does not start with its boundary",
        ),
        (
            post(&length(FORM), FORM).replace("multipart/form-data", "text/plain"),
            "content-type: not multipart/form-data",
        ),
        ("POST\r\n\r\n".to_owned(), "request line: not METHOD TARGET HTTP/1.1"),
    ] {
        let (head, body) = ask(&mut connect(&server, "localhost"), &request).unwrap();
        assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
        assert_eq!(body, format!("{fault}\n"));
        assert_eq!(server.faults().last().unwrap(), fault);
    }
    assert_eq!(server.uploads(), []);
}

#[test]
fn a_client_is_told_its_address() {
    let directory = Directory::new("address");
    let server = LogServer::start(&directory.0).unwrap();
    let mut stream = connect(&server, "localhost");
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let (head, body) = ask(&mut stream, &get("/cgi-bin/validip.pl")).unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"));
    assert_eq!(body, "Your IP address: 127.0.0.1\nAddress is in the list of authorized hosts\n");
    assert!(ask(&mut stream, &get("/other")).unwrap().0.starts_with("HTTP/1.1 404 "));
    server.set_behaviour(|_| Reply::Status(500));
    assert!(ask(&mut stream, &get("/cgi-bin/validip.pl")).unwrap().0.starts_with("HTTP/1.1 500 "));
}

#[test]
fn bad_certificates_are_bad() {
    for (kind, cause) in [
        (Certificate::WrongName, "NotValidForName"),
        (Certificate::Expired, "Expired"),
        (Certificate::UnknownAuthority, "UnknownIssuer"),
    ] {
        let directory = Directory::new(cause);
        let server = LogServer::start_with(&directory.0, kind).unwrap();
        let error = ask(&mut connect(&server, "localhost"), &whole()).unwrap_err();
        assert!(format!("{error:?}").contains(cause), "{error:?}");
        assert_eq!(server.requests(), []);
    }
}

#[test]
fn ends_at_once_whatever_the_clients_do() {
    let directory = Directory::new("ends");
    let server = LogServer::start(&directory.0).unwrap();
    server.set_behaviour(|_| Reply::Late(Duration::MAX));
    let silent = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port())).unwrap();
    let mut half = connect(&server, "localhost");
    half.write_all(&whole().as_bytes()[..300]).unwrap();
    let mut waiting = connect(&server, "localhost");
    waiting.write_all(whole().as_bytes()).unwrap();
    while server.requests().len() < 2 || server.uploads().is_empty() {
        std::thread::yield_now();
    }
    drop(server);
    assert!(waiting.read(&mut [0]).is_err());
    drop(silent);
}
