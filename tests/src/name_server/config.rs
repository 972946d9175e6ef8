//! The servers' configuration files.

use super::{Kind, Options, Place, Transfer, Zone};

/// The configuration that serves zones with these options.
pub(super) fn text(kind: Kind, place: &Place, zones: &[Zone], options: &Options) -> String {
    match kind {
        Kind::Bind => bind(place, zones, options),
        Kind::Nsd => nsd(place, zones, options),
        Kind::Knot => knot(place, zones, options),
    }
}

/// Adds what keeps a server within its directory and from the network, in its first section of options if it has one.
pub(super) fn confine(kind: Kind, place: &Place, text: &str) -> String {
    let directory = place.directory.display();
    let (section, private) = match kind {
        // A control channel would be opened unless there are none, and the root asked unless nothing is validated.
        // NOTIFY would wait for five seconds.
        Kind::Bind => (
            "options {\n",
            "\tpid-file none;\n\tsession-keyfile none;\n\tdnssec-validation no;\n\tnotify-delay 0;\n"
                .to_owned(),
        ),
        Kind::Nsd => (
            "server:\n",
            format!(
                "\tusername: \"\"\n\tchroot: \"\"\n\tzonesdir: \"{directory}\"\n\tdatabase: \"\"\n\tpidfile: \"\"\n\
                 \tzonelistfile: \"{directory}/zone.list\"\n\txfrdfile: \"{directory}/xfrd.state\"\n\
                 \txfrdir: \"{directory}\"\n\tcookie-secret-file: \"{directory}/cookie\"\n\tverbosity: 2\n"
            ),
        ),
        Kind::Knot => (
            "server:\n",
            format!(
                "    rundir: {directory}\n    udp-workers: 1\n    tcp-workers: 1\n    background-workers: 1\n"
            ),
        ),
    };
    let end = match kind {
        Kind::Bind => "controls { };\n".to_owned(),
        Kind::Nsd => "remote-control:\n\tcontrol-enable: no\n".to_owned(),
        Kind::Knot => {
            format!("log:\n  - target: stderr\n    any: info\ndatabase:\n    storage: {directory}\n")
        }
    };
    let text = match kind {
        Kind::Knot => format!("template:\n  - id: default\n    storage: {directory}\n{text}"),
        _ => text.to_owned(),
    };
    match text.split_once(section) {
        Some((before, after)) => format!("{before}{section}{private}{after}{end}"),
        None if kind == Kind::Bind => format!("options {{\n{private}}};\n{text}{end}"),
        None => format!("{section}{private}{text}{end}"),
    }
}

fn bind(place: &Place, zones: &[Zone], options: &Options) -> String {
    let Place { directory, port, tls_port } = place;
    let directory = directory.display();
    let ipv6 = if options.ipv6 { "::1;" } else { "none;" };
    let (key, transfer) = match &options.transfer {
        Transfer::Nobody => (String::new(), "none;".to_owned()),
        Transfer::Anybody => (String::new(), "any;".to_owned()),
        Transfer::Key(key) => (key.text(), format!("key \"{}\";", key.name)),
    };
    let mut text = key;
    let mut tls = String::new();
    if options.tls.is_some() {
        text.push_str("tls dot { cert-file \"server.crt\"; key-file \"server.key\"; };\n");
        tls = format!("\tlisten-on port {tls_port} tls dot {{ 127.0.0.1; }};\n");
    }
    // By default a zone with more than 100 records of one name and type is refused.
    text.push_str(&format!(
        "options {{\n\tdirectory \"{directory}\";\n\trecursion no;\n\tnotify no;\n\tmax-records-per-type 4096;\n\
         \tlisten-on port {port} {{ 127.0.0.1; }};\n\tlisten-on-v6 port {port} {{ {ipv6} }};\n{tls}\
         \tallow-transfer {{ {transfer} }};\n}};\n"
    ));
    for zone in zones {
        text.push_str(&format!("zone \"{}\" {{ type primary; file \"{}\"; }};\n", zone.name, zone.name));
    }
    text
}

fn nsd(place: &Place, zones: &[Zone], options: &Options) -> String {
    let Place { port, tls_port, .. } = place;
    let mut text = format!("server:\n\tip-address: 127.0.0.1@{port}\n");
    if options.ipv6 {
        text.push_str(&format!("\tip-address: ::1@{port}\n"));
    }
    if options.tls.is_some() {
        text.push_str(&format!(
            "\tip-address: 127.0.0.1@{tls_port}\n\ttls-port: {tls_port}\n\
             \ttls-service-key: \"server.key\"\n\ttls-service-pem: \"server.crt\"\n"
        ));
    }
    let key = match &options.transfer {
        Transfer::Nobody => None,
        Transfer::Anybody => Some("NOKEY"),
        Transfer::Key(key) => {
            let (name, algorithm, secret) = (key.name, key.algorithm, key.secret);
            text.push_str(&format!(
                "key:\n\tname: \"{name}\"\n\talgorithm: {algorithm}\n\tsecret: \"{secret}\"\n"
            ));
            Some(key.name)
        }
    };
    for zone in zones {
        text.push_str(&format!("zone:\n\tname: {}\n\tzonefile: \"{}\"\n", zone.name, zone.name));
        if let Some(key) = key {
            text.push_str(&format!("\tprovide-xfr: 127.0.0.1 {key}\n\tprovide-xfr: ::1 {key}\n"));
        }
    }
    text
}

fn knot(place: &Place, zones: &[Zone], options: &Options) -> String {
    assert!(options.tls.is_none(), "Debian 12's Knot serves no TLS");
    let port = place.port;
    let mut text = format!("server:\n    listen: 127.0.0.1@{port}\n");
    if options.ipv6 {
        text.push_str(&format!("    listen: ::1@{port}\n"));
    }
    let acl = match &options.transfer {
        Transfer::Nobody => String::new(),
        Transfer::Anybody => "acl:\n  - id: transfer\n    action: transfer\n".to_owned(),
        Transfer::Key(key) => {
            let (name, algorithm, secret) = (key.name, key.algorithm, key.secret);
            format!(
                "key:\n  - id: {name}\n    algorithm: {algorithm}\n    secret: {secret}\n\
                 acl:\n  - id: transfer\n    key: {name}\n    action: transfer\n"
            )
        }
    };
    text.push_str(&acl);
    text.push_str("zone:\n");
    for zone in zones {
        text.push_str(&format!(
            "  - domain: {}\n    file: {}\n    zonefile-sync: -1\n    journal-content: none\n",
            zone.name, zone.name
        ));
        if !acl.is_empty() {
            text.push_str("    acl: transfer\n");
        }
    }
    text
}
