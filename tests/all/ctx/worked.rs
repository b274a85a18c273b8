//! Examples worked out by hand from descriptions of what the kernel does, on a little-endian machine unless it is said.

use relinear::bpf::{Aux, Bpf, Endian, Insn};
use relinear::passes::Error;
use relinear::passes::ctx::{
    self, CTX, Field, HIDDEN, Hook, Known, Load, Memory, Options, SkBuff, Store, Table, VALUE, Vlan,
};
use relinear::{Arena, Handle, List};

use super::{OLD, SK_BUFF, XDP, bits, converted, one, seen, slot, traffic_control};

/// `code dst src off imm`.
type Slot = (u8, u8, u8, i16, i32);

fn check(table: &Table, cases: &[(Slot, &[Slot])]) {
    for (from, to) in cases {
        let insn = |&(code, dst, src, off, imm): &Slot| slot(code, dst, src, off, imm);
        let to: Vec<Insn> = to.iter().map(insn).collect();
        assert_eq!(one(insn(from), table), to, "{from:02x?}");
    }
}

#[test]
fn loads() {
    check(
        &traffic_control(),
        &[
            // len
            ((0x61, 0, 1, 0, 0), &[(0x61, 0, 1, 112, 0)]),
            // mark, byte 2 and byte 0
            ((0x71, 0, 1, 10, 0), &[(0x61, 0, 1, 164, 0), (0x74, 0, 0, 0, 16), (0x54, 0, 0, 0, 0xff)]),
            ((0x71, 0, 1, 8, 0), &[(0x61, 0, 1, 164, 0), (0x54, 0, 0, 0, 0xff)]),
            // len, high half
            ((0x69, 0, 1, 2, 0), &[(0x61, 0, 1, 112, 0), (0x74, 0, 0, 0, 16), (0x54, 0, 0, 0, 0xffff)]),
            // protocol: all of it, its low half, and what should be its high half
            ((0x61, 0, 1, 16, 0), &[(0x69, 0, 1, 176, 0)]),
            ((0x69, 0, 1, 16, 0), &[(0x69, 0, 1, 176, 0)]),
            ((0x69, 0, 1, 18, 0), &[(0x69, 0, 1, 176, 0)]),
            ((0x71, 0, 1, 17, 0), &[(0x69, 0, 1, 176, 0), (0x74, 0, 0, 0, 8), (0x54, 0, 0, 0, 0xff)]),
            ((0x71, 0, 1, 18, 0), &[(0x69, 0, 1, 176, 0), (0x74, 0, 0, 0, 16), (0x54, 0, 0, 0, 0xff)]),
            // vlan_present
            ((0x61, 0, 1, 20, 0), &[(0x61, 0, 1, 152, 0), (0x15, 0, 0, 1, 0), (0xb4, 0, 0, 0, 1)]),
            (
                (0x71, 0, 1, 21, 0),
                &[
                    (0x61, 0, 1, 152, 0),
                    (0x15, 0, 0, 1, 0),
                    (0xb4, 0, 0, 0, 1),
                    (0x74, 0, 0, 0, 8),
                    (0x54, 0, 0, 0, 0xff),
                ],
            ),
            // pkt_type
            ((0x61, 0, 1, 4, 0), &[(0x71, 0, 1, 128, 0), (0x54, 0, 0, 0, 7)]),
            ((0x71, 0, 1, 5, 0), &[(0x71, 0, 1, 128, 0), (0x54, 0, 0, 0, 7)]),
            // ifindex, into the register that points to the context
            ((0x61, 1, 1, 40, 0), &[(0x79, 1, 1, 16, 0), (0x61, 1, 1, 224, 0)]),
            // gso_size
            (
                (0x61, 0, 1, 176, 0),
                &[(0x61, 11, 1, 188, 0), (0x79, 0, 1, 192, 0), (0x0f, 0, 11, 0, 0), (0x69, 0, 0, 4, 0)],
            ),
            // len, a signed byte
            ((0x91, 0, 1, 0, 0), &[(0x61, 0, 1, 112, 0), (0x54, 0, 0, 0, 0xff), (0xbf, 0, 0, 8, 0)]),
            // cb[0], cb[1] as one
            ((0x79, 0, 1, 48, 0), &[(0x79, 0, 1, 48, 0)]),
            ((0x71, 0, 1, 67, 0), &[(0x71, 0, 1, 67, 0)]),
        ],
    );
}

#[test]
fn time_stamps() {
    let read: &[Slot] = &[
        (0x71, 11, 6, 129, 0),
        (0x46, 11, 0, 1, 4),
        (0x05, 0, 0, 4, 0),
        (0x46, 11, 0, 1, 3),
        (0x05, 0, 0, 2, 0),
        (0xb7, 2, 0, 0, 0),
        (0x05, 0, 0, 1, 0),
        (0x79, 2, 6, 32, 0),
    ];
    check(&traffic_control(), &[((0x79, 2, 6, 152, 0), read)]);
    let asks = SK_BUFF.table(Hook::TrafficControl, true, Endian::Little);
    check(
        &asks,
        &[
            ((0x79, 2, 6, 152, 0), &[(0x79, 2, 6, 32, 0)]),
            ((0x7b, 6, 2, 152, 0), &[(0x7b, 6, 2, 32, 0)]),
            ((0x7a, 6, 0, 152, 9), &[(0x7a, 6, 0, 32, 9)]),
            ((0x71, 2, 6, 180, 0), &[(0x71, 2, 6, 129, 0), (0x54, 2, 0, 0, 3)]),
        ],
    );
}

#[test]
fn stores() {
    check(
        &traffic_control(),
        &[
            ((0x63, 1, 2, 12, 0), &[(0x35, 2, 0, 1, 0xffff), (0x6b, 1, 2, 124, 0)]),
            ((0x62, 1, 0, 12, 42), &[(0x6a, 1, 0, 124, 42)]),
            ((0x62, 1, 0, 12, 0xffff), &[(0x05, 0, 0, 0, 0)]),
            ((0x63, 1, 2, 8, 0), &[(0x63, 1, 2, 164, 0)]),
            ((0x62, 1, 0, 8, 42), &[(0x62, 1, 0, 164, 42)]),
            ((0x62, 1, 0, 72, 42), &[(0x6a, 1, 0, 46, 42)]),
            ((0x6a, 1, 0, 62, 42), &[(0x6a, 1, 0, 62, 42)]),
        ],
    );
}

#[test]
fn packets_of_express_data_path() {
    check(
        &XDP.table(Endian::Little),
        &[
            ((0x61, 2, 1, 0, 0), &[(0x79, 2, 1, 0, 0)]),
            ((0x61, 2, 1, 12, 0), &[(0x79, 2, 1, 32, 0), (0x79, 2, 2, 0, 0), (0x61, 2, 2, 224, 0)]),
        ],
    );
}

#[test]
fn presence_of_a_tag_is_a_bit_in_6_1() {
    let of = |first| SkBuff { vlan: Vlan::Present(bits(130, first, 1)), ..SK_BUFF };
    let load = slot(0x61, 2, 1, 20, 0);
    for (first, code) in [
        (0, vec![slot(0x71, 2, 1, 130, 0), slot(0x54, 2, 0, 0, 1)]),
        (3, vec![slot(0x71, 2, 1, 130, 0), slot(0x74, 2, 0, 0, 3), slot(0x54, 2, 0, 0, 1)]),
        (7, vec![slot(0x71, 2, 1, 130, 0), slot(0x74, 2, 0, 0, 7)]),
    ] {
        let table = of(first).table(Hook::TrafficControl, false, Endian::Little);
        assert_eq!(converted(&[load], &table, &OLD), Ok(code));
    }
}

/// A field of 8 bytes, of which parts are loaded; and the other byte order.
#[test]
fn parts_of_fields() {
    let table = |endian| {
        let code = vec![slot(0x79, VALUE, CTX, 40, 0), slot(0x0f, VALUE, HIDDEN, 0, 0)];
        let field = |offset, len| Field {
            offset,
            len,
            load: Load::Code { width: len, code: code.clone() },
            store: Store::None,
        };
        Table::new(endian, vec![field(8, 8), field(0, 4), field(4, 2)])
    };
    let whole = [slot(0x79, 0, 3, 40, 0), slot(0x0f, 0, 11, 0, 0)];
    let (shift, long, and) = (0x74, 0x77, 0x54);
    for (code, off, little, big) in [
        (0x79, 8, vec![], vec![]),
        (0x61, 8, vec![(and, -1)], vec![(long, 32), (and, -1)]),
        (0x61, 12, vec![(long, 32), (and, -1)], vec![(and, -1)]),
        (0x69, 10, vec![(long, 16), (and, 0xffff)], vec![(long, 32), (and, 0xffff)]),
        (0x71, 15, vec![(long, 56), (and, 0xff)], vec![(and, 0xff)]),
        (0x71, 1, vec![(shift, 8), (and, 0xff)], vec![(shift, 16), (and, 0xff)]),
        (0x71, 4, vec![(and, 0xff)], vec![(shift, 8), (and, 0xff)]),
        (0x69, 4, vec![], vec![]),
    ] {
        for (endian, steps) in [(Endian::Little, little), (Endian::Big, big)] {
            let steps = steps.into_iter().map(|(code, imm)| slot(code, 0, 0, 0, imm));
            let expected: Vec<Insn> = whole.into_iter().chain(steps).collect();
            assert_eq!(
                one(slot(code, 0, 3, off, 0), &table(endian)),
                expected,
                "{code:02x} {off} {endian:?}"
            );
        }
    }
}

#[test]
fn loads_that_extend_a_sign_are_unknown_to_6_1() {
    let load = [slot(0x91, 0, 1, 0, 0)];
    assert_eq!(converted(&load, &traffic_control(), &OLD), Ok(load.to_vec()));
}

#[test]
fn what_a_table_does_not_have() {
    let table = traffic_control();
    for insn in [
        slot(0x79, 0, 1, 0, 0),   // too long
        slot(0x61, 0, 1, 200, 0), // past the end
        slot(0x61, 0, 1, -4, 0),  // in front
        slot(0x61, 0, 1, 2, 0),   // over the end of a field
        slot(0x63, 1, 2, 0, 0),   // cannot be stored
        slot(0x6b, 1, 2, 8, 0),   // part of a field
        slot(0x7b, 1, 2, 64, 0),  // over the end
    ] {
        let at = Handle::new(0);
        assert_eq!(converted(&[insn], &table, &Options::default()), Err(Error::NoConversion { at, insn }));
    }
}

#[test]
fn there_is_room_for_so_much() {
    let table = |len| {
        let code = vec![slot(0xb7, VALUE, 0, 0, 0); len];
        let field = Field { offset: 0, len: 4, load: Load::Code { width: 4, code }, store: Store::None };
        Table::new(Endian::Little, vec![field])
    };
    let load = [slot(0x61, 0, 1, 0, 0)];
    for (options, limit) in [(Options::default(), 31), (OLD, 15)] {
        assert!(converted(&load, &table(limit), &options).is_ok());
        let error = Error::LongConversion { at: Handle::new(0), slots: limit + 1, limit };
        assert_eq!(converted(&load, &table(limit + 1), &options), Err(error));
    }
}

/// The other kinds of memory, and barriers.
#[test]
fn marks_and_barriers() {
    let (probed, arena) = (Memory::Probed.into(), Memory::Arena.into());
    let barrier = slot(0xc2, 0, 0, 0, 0);
    let before = Known { nospec: true, ..Known::default() };
    let after = Known { nospec_result: true, ..Known::default() };
    for (known, from, to) in [
        (probed, (0x61, 2, 3, 8, 0), vec![slot(0x21, 2, 3, 8, 0)]),
        (probed, (0x89, 2, 3, 8, 0), vec![slot(0x49, 2, 3, 8, 0)]),
        (probed, (0x63, 2, 3, 8, 0), vec![slot(0x63, 2, 3, 8, 0)]),
        (arena, (0x79, 2, 3, 8, 0), vec![slot(0xb9, 2, 3, 8, 0)]),
        (arena, (0x62, 2, 0, 8, 5), vec![slot(0xa2, 2, 0, 8, 5)]),
        (arena, (0xdb, 2, 3, 8, 1), vec![slot(0xfb, 2, 3, 8, 1)]),
        (Known::default(), (0x61, 2, 3, 8, 0), vec![slot(0x61, 2, 3, 8, 0)]),
        (before, (0x61, 2, 10, -8, 0), vec![barrier, slot(0x61, 2, 10, -8, 0)]),
        (after, (0x63, 10, 2, -8, 0), vec![slot(0x63, 10, 2, -8, 0), barrier]),
        (after, (0x61, 2, 10, -8, 0), vec![slot(0x61, 2, 10, -8, 0)]),
    ] {
        let (code, dst, src, off, imm) = from;
        let arena = Arena::new();
        let insns = [slot(code, dst, src, off, imm)];
        let mut list = List::<Bpf, Aux>::with_aux(&arena, &insns, &seen(1)).expect("a list");
        ctx::run(&mut list, &Options::default(), |_| known).expect("no error");
        assert_eq!(list.linearize().expect("a program").units, to, "{from:02x?}");
    }
}

/// Facts go to the last of what replaces an instruction, and dead code stays as it is.
#[test]
fn facts() {
    let insns = [slot(0x71, 0, 1, 10, 0), slot(0x79, 2, 1, 48, 0), slot(0x71, 0, 1, 10, 0)];
    let aux = |seen, zext_dst, user| Aux { seen, zext_dst, user };
    let arena = Arena::new();
    let facts = [aux(true, false, 'a'), aux(true, true, 'b'), aux(false, true, 'c')];
    let mut list = List::<Bpf, Aux<char>>::with_aux(&arena, &insns, &facts).expect("a list");
    let table = traffic_control();
    let mut asked = Vec::new();
    let report = ctx::run(&mut list, &Options::default(), |site| {
        asked.push((site.handle.index(), site.insn, site.aux.user));
        Memory::Context(&table).into()
    });
    assert_eq!(report.map(|report| (report.loads, report.stores)), Ok((2, 0)));
    assert_eq!(asked, [(0, insns[0], 'a'), (1, insns[1], 'b')]);
    let out = list.linearize().expect("a program");
    let none = char::default();
    assert_eq!(
        out.aux,
        [
            aux(true, true, none),
            aux(true, true, none),
            aux(true, true, 'a'),
            aux(true, false, 'b'),
            aux(false, true, 'c')
        ]
    );
    assert_eq!(out.units[4], insns[2]);
}
