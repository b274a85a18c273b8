//! The fixed inputs on which programs run: packets with a context each, and tracepoint arguments.

use core::array;

/// By how much a program may grow a packet.
pub(super) const ROOM: usize = 256;

/// Bytes of `struct __sk_buff`, and where a test may set fields in it (`linux/bpf.h`).
const SK_BUFF: usize = 192;
const MARK: usize = 8;
const PRIORITY: usize = 32;
const CB: usize = 48;

const ETHERNET: usize = 14;

/// The kinds of packets: length and what they carry.
const PACKETS: [(usize, Carries); 11] = [
    (64, Carries::Ipv4 { protocol: 6 }),
    (60, Carries::Ipv4 { protocol: 17 }),
    (98, Carries::Ipv6 { protocol: 6 }),
    (130, Carries::Ipv4 { protocol: 17 }),
    (256, Carries::Ipv6 { protocol: 17 }),
    (1000, Carries::Ipv4 { protocol: 1 }),
    (65, Carries::Ipv4 { protocol: 6 }),
    (1400, Carries::Vlan),
    (14, Carries::Pattern),
    (17, Carries::Pattern),
    (200, Carries::Pattern),
];

#[derive(Clone, Copy)]
enum Carries {
    Ipv4 { protocol: u8 },
    Ipv6 { protocol: u8 },
    Vlan,
    Pattern,
}

/// Packets and the `struct __sk_buff` that comes with each.
pub(super) fn packets() -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    PACKETS.iter().enumerate().map(|(i, &(len, carries))| (packet(i, len, carries), context(i)))
}

/// The arguments of a raw tracepoint.
pub(super) fn raw_arguments() -> impl Iterator<Item = [u64; 12]> {
    (0..6_u64).map(|i| array::from_fn(|k| i * 0x0101_0101 + (k as u64) * 77))
}

fn packet(i: usize, len: usize, carries: Carries) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..len).map(|k| low_byte(k * 37 + i * 11 + (k >> 3))).collect();
    bytes[..12].copy_from_slice(&[2, 0, low_byte(i), low_byte(i >> 1), 0, 1, 2, 0, 0, 0, 0, 2]);
    match carries {
        Carries::Ipv4 { protocol } => {
            bytes[12..14].copy_from_slice(&[0x08, 0x00]);
            ipv4(&mut bytes[ETHERNET..], protocol);
        }
        Carries::Vlan => {
            bytes[12..18].copy_from_slice(&[0x81, 0x00, 0, 5, 0x08, 0x00]);
            ipv4(&mut bytes[ETHERNET + 4..], 6);
        }
        Carries::Ipv6 { protocol } => {
            bytes[12..18].copy_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0]);
            put_length(&mut bytes[18..20], len - ETHERNET - 40);
            bytes[20] = protocol;
            bytes[21] = 64;
        }
        Carries::Pattern => {}
    }
    bytes
}

/// A header without options; its last two bytes of ports are 7, the echo service.
fn ipv4(header: &mut [u8], protocol: u8) {
    let len = header.len();
    header[..2].copy_from_slice(&[0x45, 0]);
    put_length(&mut header[2..4], len);
    header[6..10].copy_from_slice(&[0, 0, 64, protocol]);
    header[22..24].copy_from_slice(&[0, 7]);
}

fn put_length(field: &mut [u8], len: usize) {
    field.copy_from_slice(&u16::try_from(len).expect("packets are short").to_be_bytes());
}

fn context(i: usize) -> Vec<u8> {
    let mut bytes = vec![0; SK_BUFF];
    bytes[MARK] = low_byte(i);
    bytes[PRIORITY] = low_byte(i * 3);
    bytes[CB] = low_byte(i + 100);
    bytes[CB + 8] = low_byte(i * 7 + 1);
    bytes
}

fn low_byte(x: usize) -> u8 {
    x.to_le_bytes()[0]
}
