//! The header of a proxy: from any bytes in any pieces, a server takes the same as a decoder by hand.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::framings::proxy_header::{check, decode_slowly};

fn line() -> impl Strategy<Value = Vec<u8>> {
    let ip = prop_oneof![
        any::<[u8; 4]>().prop_map(|ip| std::net::Ipv4Addr::from(ip).to_string()),
        any::<[u8; 16]>().prop_map(|ip| std::net::Ipv6Addr::from(ip).to_string()),
        Just("0.0.0.0".to_owned()),
        Just("::".to_owned()),
        Just("::ffff:192.0.2.1".to_owned()),
    ];
    let family = prop_oneof![Just("TCP4"), Just("TCP6"), Just("UNKNOWN"), Just("TCP5")];
    (family, ip.clone(), ip, 0..70_000u32, any::<u16>()).prop_map(
        |(family, source, destination, from, to)| {
            format!("PROXY {family} {source} {destination} {from} {to}\r\n").into_bytes()
        },
    )
}

fn version_2() -> impl Strategy<Value = Vec<u8>> {
    let command = prop_oneof![8 => Just(0x21u8), 2 => Just(0x20), 1 => any::<u8>()];
    let protocol =
        prop_oneof![4 => Just(0x11u8), 4 => Just(0x21), 1 => Just(0x31), 1 => Just(0), 1 => any::<u8>()];
    let body = prop_oneof![4 => vec(any::<u8>(), 36..60), 2 => vec(any::<u8>(), 0..40), 1 => vec(any::<u8>(), 210..230)];
    (command, protocol, body, 0..20usize).prop_map(|(command, protocol, body, more)| {
        let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
        header.extend([command, protocol]);
        // Sometimes the header says more than there is.
        header.extend(u16::try_from(body.len() + more.saturating_sub(17)).unwrap().to_be_bytes());
        header.extend(body);
        header
    })
}

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    vec(prop_oneof![1..4usize, 1..100usize], 1..8)
}

proptest! {
    #[test]
    fn a_server_takes_the_header_that_the_slow_decoder_takes(
        header in prop_oneof![line(), version_2()],
        change in prop::option::weighted(0.3, (any::<prop::sample::Index>(), any::<u8>())),
        data in vec(any::<u8>(), 0..100),
        cuts in cuts(),
    ) {
        let mut stream = [header, data].concat();
        if let Some((index, byte)) = change {
            let index = index.index(stream.len());
            stream[index] = byte;
        }
        check(&stream, &cuts);
    }
}

#[test]
fn the_slow_decoder_takes_headers_at_all() {
    let (named, used) = decode_slowly(b"PROXY TCP4 192.0.2.1 198.51.100.2 4660 80\r\nx").unwrap();
    assert_eq!(named.unwrap().map(|address| address.to_string()), ["192.0.2.1:4660", "198.51.100.2:80"]);
    assert_eq!(used, 43);
}
