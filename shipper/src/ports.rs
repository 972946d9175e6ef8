//! The ports that the uploader connects to, for a system that can close all others.

use ureq::Proxy;
use ureq::http::Uri;

/// The port of the proxy, if there is one, else that of `url`; and that of the resolver, for answers
/// that UDP is too small for. An address that is none has no port.
pub fn of(url: &str, proxy: &str) -> Vec<u16> {
    let port = match proxy {
        "" => url.parse::<Uri>().ok().map(|url| url.port_u16().unwrap_or(443)),
        proxy => Proxy::new(proxy).ok().map(|proxy| proxy.port()),
    };
    port.into_iter().chain([53]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_port_is_connected_to() {
        for (url, proxy, expected) in [
            ("https://logs.example.net/cgi-bin", "", &[443, 53][..]),
            ("https://u:p@logs.example.net:8443/", "", &[8443, 53]),
            ("https://logs.example.net:8443/", "http://u:p@proxy.example.net:3128", &[3128, 53]),
            ("https://logs.example.net/", "http://proxy.example.net", &[80, 53]),
            ("not a url", "", &[53]),
        ] {
            assert_eq!(of(url, proxy), expected, "{url} {proxy}");
        }
    }
}
