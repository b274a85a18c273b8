//! Instruction counts by iai-callgrind: each operation at `n` and at 16 `n`, with its input built before
//! the count. `icount.sh` compares them with the committed baseline and with the promised complexity.

#![expect(missing_docs, reason = "the macros make items that have none")]

use std::hint::black_box;

use iai_callgrind::{LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main};
use relinear::bpf::opcode::AX;
use relinear::bpf::{Bpf, Endian, Insn, Program, decode, encode};
use relinear::elf::{Edit, Object};
use relinear::passes::ctx::{self, Memory, Xdp};
use relinear::passes::misc_fixups::{self, Site, Subprogs};
use relinear::passes::{
    blind, dce, harden, hard_wire_dead_branches, remove_dead_code, remove_nops, rnd_hi32, sanitize_dead_code, zext,
};
use relinear::{Arena, At, Branch, Deleted, Handle, Linear, List, Map, Patch, Target};
use relinear_bench::verified::{self, Verified};
use relinear_bench::{Shape, Work, generate, parts};

const N: u32 = 1 << 12;
const N16: u32 = N << 4;

/// Edits that are counted: as many at both sizes, and at both so far apart that none has a neighbour's cache line.
const EDITS: u32 = 64;

fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

fn program(n: u32) -> &'static [Insn] {
    &leak(Work::new(Shape::A, n, false)).program
}

// Creation.

fn input(n: u32) -> (&'static Arena, &'static [Insn]) {
    let (mut arena, program) = (Arena::new(), program(n));
    drop(List::<Bpf>::new(&arena, program));
    arena.reset();
    (leak(arena), program)
}

#[library_benchmark(setup = input)]
#[bench::n(N)]
#[bench::n16(N16)]
fn create((arena, program): (&'static Arena, &'static [Insn])) -> List<'static, Bpf> {
    List::new(arena, program).expect("the program is valid")
}

library_benchmark_group!(name = creation; benchmarks = create);

// Edits.

type MakeEdit = fn(&mut List<'_, Bpf>, Handle);

/// A list, and the instructions to edit, spread over it.
struct Edits {
    list: List<'static, Bpf>,
    handles: Vec<Handle>,
}

fn edits(n: u32, edit: MakeEdit) -> Edits {
    let program = program(n);
    let starts = |index: u32| index == 0 || program[index as usize - 1].slots() == 1;
    let handles: Vec<Handle> = (0..EDITS)
        .map(|edit| u32::try_from(u64::from(edit) * u64::from(n) / u64::from(EDITS)).unwrap_or(0))
        .map(|index| Handle::new(if starts(index) { index } else { index - 1 }))
        .collect();
    let list = parts::warm(program, |list| handles.iter().for_each(|&handle| edit(list, handle)));
    Edits { list, handles }
}

/// The same in random order: no two neighbours after each other.
fn scattered(n: u32, edit: MakeEdit) -> Edits {
    let mut edits = edits(n, edit);
    let len = edits.handles.len();
    edits.handles = (0..len).map(|index| edits.handles[index * 617 % len]).collect();
    edits
}

const PATCH: [Insn; 3] = [Insn::mov64_imm(1, 1), Insn::mov64_imm(2, 2), Insn::mov64_imm(3, 3)];
const JUMPS: [Insn; 3] = [Insn::mov64_imm(1, 1), Insn::ja(1), Insn::ja(0)];

fn replace_one(list: &mut List<'_, Bpf>, at: Handle) {
    list.replace(at, Patch::new(&PATCH)).expect("a valid edit");
}

fn branching_one(list: &mut List<'_, Bpf>, at: Handle) {
    let branches = [Branch::new(2, Target::Original(0))];
    list.replace(at, Patch::new(&JUMPS).branches(&branches)).expect("a valid edit");
}

fn prepend_one(list: &mut List<'_, Bpf>, at: Handle) {
    list.prepend(at, Patch::new(&PATCH)).expect("a valid edit");
}

fn fallthrough_one(list: &mut List<'_, Bpf>, at: Handle) {
    list.prepend_fallthrough(at, Patch::new(&PATCH)).expect("a valid edit");
}

fn append_one(list: &mut List<'_, Bpf>, at: Handle) {
    list.append(at, Patch::new(&PATCH)).expect("a valid edit");
}

fn delete_one(list: &mut List<'_, Bpf>, at: Handle) {
    list.delete(at).expect("a valid edit");
}

fn delete_one_range(list: &mut List<'_, Bpf>, at: Handle) {
    let units = u32::try_from(list.insn(at).expect("it is live").len()).expect("one or two");
    list.delete_range(at.index()..at.index() + units).expect("a whole instruction");
}

macro_rules! edit_benchmarks {
    ($($name:ident $setup:ident $edit:ident;)*) => {
        $(
            #[library_benchmark(setup = $setup)]
            #[bench::n(N, $edit)]
            #[bench::n16(N16, $edit)]
            fn $name(Edits { mut list, handles }: Edits) -> List<'static, Bpf> {
                for &handle in &handles {
                    $edit(&mut list, black_box(handle));
                }
                list
            }
        )*
        library_benchmark_group!(name = edit; benchmarks = $($name),*);
    };
}

edit_benchmarks! {
    replace edits replace_one;
    replace_scattered scattered replace_one;
    replace_with_branches edits branching_one;
    prepend edits prepend_one;
    prepend_fallthrough edits fallthrough_one;
    append edits append_one;
    delete edits delete_one;
    delete_range edits delete_one_range;
}

// Walks and linearization.

fn edited(n: u32, shape: Shape) -> List<'static, Bpf> {
    let work = leak(Work::new(shape, n, false));
    let mut list = parts::warm_list(work);
    parts::edit(&mut list, work, &mut Vec::new());
    list
}

fn linear(n: u32, shape: Shape) -> (List<'static, Bpf>, Linear<Insn>) {
    let list = edited(n, shape);
    let out = list.linearize().expect("every branch has a place to go");
    (list, out)
}

#[library_benchmark(setup = edited)]
#[bench::sparse_n(N, Shape::C)]
#[bench::sparse_n16(N16, Shape::C)]
#[bench::dense_n(N, Shape::A)]
#[bench::dense_n16(N16, Shape::A)]
#[bench::deleted_n(N, Shape::D)]
#[bench::deleted_n16(N16, Shape::D)]
fn iterate(list: List<'static, Bpf>) -> (usize, List<'static, Bpf>) {
    (list.iter().count(), list)
}

#[library_benchmark(setup = linear)]
#[bench::sparse_n(N, Shape::C)]
#[bench::sparse_n16(N16, Shape::C)]
#[bench::tenth_n(N, Shape::B)]
#[bench::tenth_n16(N16, Shape::B)]
#[bench::dense_n(N, Shape::A)]
#[bench::dense_n16(N16, Shape::A)]
#[bench::deleted_n(N, Shape::D)]
#[bench::deleted_n16(N16, Shape::D)]
#[bench::passes_n(N, Shape::E)]
#[bench::passes_n16(N16, Shape::E)]
#[bench::random_n(N, Shape::F)]
#[bench::random_n16(N16, Shape::F)]
fn linearize((list, mut out): (List<'static, Bpf>, Linear<Insn>)) -> (List<'static, Bpf>, Linear<Insn>) {
    list.linearize_into(&mut out).expect("every branch has a place to go");
    (list, out)
}

library_benchmark_group!(name = whole; benchmarks = iterate, linearize);

// Side tables: a record for every fourth unit.

fn table(n: u32, shape: Shape) -> (Map, Vec<u32>) {
    let (_, out) = linear(n, shape);
    (out.map, (0..n).step_by(4).collect())
}

fn ranges(n: u32, shape: Shape) -> (Map, Vec<(u32, u32)>) {
    let (map, points) = table(n, shape);
    (map, points.into_iter().map(|start| (start, n.min(start + 6))).collect())
}

#[library_benchmark(setup = table)]
#[bench::sparse_n(N, Shape::C)]
#[bench::sparse_n16(N16, Shape::C)]
#[bench::deleted_n(N, Shape::D)]
#[bench::deleted_n16(N16, Shape::D)]
fn adjust_points((map, mut records): (Map, Vec<u32>)) -> (Map, Vec<u32>) {
    map.adjust_points(&mut records, At::Label, Deleted::Slide, |record| record).expect("they ascend");
    (map, records)
}

#[library_benchmark(setup = table)]
#[bench::sparse_n(N, Shape::C)]
#[bench::sparse_n16(N16, Shape::C)]
#[bench::deleted_n(N, Shape::D)]
#[bench::deleted_n16(N16, Shape::D)]
fn adjust_starts((map, mut records): (Map, Vec<u32>)) -> (Map, Vec<u32>, Vec<usize>) {
    let removed = map.adjust_starts(&mut records, |record| record).expect("they ascend");
    (map, records, removed)
}

#[library_benchmark(setup = ranges)]
#[bench::deleted_n(N, Shape::D)]
#[bench::deleted_n16(N16, Shape::D)]
fn adjust_ranges((map, mut records): (Map, Vec<(u32, u32)>)) -> (Map, Vec<(u32, u32)>) {
    map.adjust_ranges(&mut records, |(start, end)| (start, end)).expect("none is inverted");
    (map, records)
}

library_benchmark_group!(name = tables; benchmarks = adjust_points, adjust_starts, adjust_ranges);

// The eBPF layer.

fn bytes(n: u32) -> Vec<u8> {
    encode(program(n), Endian::Little)
}

#[library_benchmark(setup = bytes)]
#[bench::n(N)]
#[bench::n16(N16)]
fn decode_bytes(bytes: Vec<u8>) -> Vec<Insn> {
    decode(&bytes, Endian::Little).expect("whole slots")
}

fn under_pass(n: u32) -> (&'static Program, List<'static, Bpf>) {
    let program = leak(generate::program(n));
    (program, parts::warm(&program.insns, |_| ()))
}

#[library_benchmark(setup = under_pass)]
#[bench::n(N)]
#[bench::n16(N16)]
fn pass_dce((program, mut list): (&'static Program, List<'static, Bpf>)) -> List<'static, Bpf> {
    dce::run(program, &mut list, &dce::Options::default()).expect("a valid program");
    list
}

#[library_benchmark(setup = under_pass)]
#[bench::n(N)]
#[bench::n16(N16)]
fn pass_blind_hidden((program, mut list): (&'static Program, List<'static, Bpf>)) -> List<'static, Bpf> {
    let options = blind::Options { hidden: Some(11), ..blind::Options::default() };
    blind::run(program, &mut list, &options).expect("a valid program");
    list
}

#[library_benchmark(setup = under_pass)]
#[bench::n(N)]
#[bench::n16(N16)]
fn pass_blind((program, mut list): (&'static Program, List<'static, Bpf>)) -> List<'static, Bpf> {
    blind::run(program, &mut list, &blind::Options::default()).expect("a valid program");
    list
}

library_benchmark_group!(name = bpf; benchmarks = decode_bytes, pass_dce, pass_blind_hidden, pass_blind);

// The passes that do as the kernel does.

fn all_dead_branches(list: &mut Verified<'_>) {
    hard_wire_dead_branches::run(list).expect("a valid program");
}

fn all_dead_code(list: &mut Verified<'_>) {
    remove_dead_code::run(list).expect("a valid program");
}

fn all_nops(list: &mut Verified<'_>) {
    remove_nops::run(list, &remove_nops::Options::default()).expect("a valid program");
}

fn all_traps(list: &mut Verified<'_>) {
    sanitize_dead_code::run(list).expect("a valid program");
}

fn all_extensions(list: &mut Verified<'_>) {
    zext::run(list, &zext::Options { explicit: true }).expect("a valid program");
}

fn all_high_halves(list: &mut Verified<'_>) {
    rnd_hi32::run(list, &rnd_hi32::Options { seed: 1, ax: AX }, |_| false).expect("a valid program");
}

fn all_constants(list: &mut Verified<'_>) {
    let hardening = harden::Options { seed: 1, ax: AX, zext: false };
    harden::run(list, &hardening).expect("a valid program");
}

fn all_divisions(list: &mut Verified<'_>) {
    let mut subprogs = Subprogs { starts: &[0], stack: &mut [0] };
    let options = misc_fixups::Options::default();
    misc_fixups::run(list, &mut subprogs, &(), &options).expect("a valid program");
}

fn all_context_loads(list: &mut Verified<'_>) {
    let xdp = Xdp {
        data: 0,
        data_end: 8,
        data_meta: 16,
        rxq: 32,
        rxq_dev: 0,
        rxq_queue_index: 8,
        egress: None,
        ifindex: 224,
    };
    let table = xdp.table(Endian::Little);
    let known = |site: &Site<'_, ()>| match site.insn {
        verified::CONTEXT_LOAD => Memory::Context(&table).into(),
        _ => Memory::Plain.into(),
    };
    ctx::run(list, &ctx::Options::default(), known).expect("a valid program");
}

macro_rules! kernel_benchmarks {
    ($($name:ident $pass:ident;)*) => {
        $(
            #[library_benchmark(setup = verified::warm)]
            #[bench::n(N, $pass)]
            #[bench::n16(N16, $pass)]
            fn $name(mut list: Verified<'static>) -> Verified<'static> {
                $pass(&mut list);
                list
            }
        )*
        library_benchmark_group!(name = kernel; benchmarks = $($name),*);
    };
}

kernel_benchmarks! {
    pass_hard_wire_dead_branches all_dead_branches;
    pass_remove_dead_code all_dead_code;
    pass_remove_nops all_nops;
    pass_sanitize_dead_code all_traps;
    pass_zext all_extensions;
    pass_rnd_hi32 all_high_halves;
    pass_harden all_constants;
    pass_misc_fixups all_divisions;
    pass_ctx all_context_loads;
}

// The ELF layer, at an object of our tests.

const OBJECT: &[u8] = include_bytes!("../../tests/data/large.o");

fn object() -> Object<'static> {
    Object::parse(OBJECT).expect("a valid object")
}

/// The object, and what comes of it if one in a hundred instructions has one prepended.
fn edited_object() -> (Object<'static>, Vec<Linear<Insn>>) {
    let object = object();
    let edit = |program: &Program| {
        let arena = Arena::new();
        let mut list = List::<Bpf>::new(&arena, &program.insns).expect("the program is valid");
        let handles: Vec<Handle> = list.iter().collect();
        handles.into_iter().step_by(100).for_each(|at| {
            list.prepend(at, Patch::new(&PATCH[..1])).expect("a valid edit");
        });
        list.linearize().expect("every branch reaches")
    };
    let linears = object.code().iter().map(|code| edit(code.program())).collect();
    (object, linears)
}

#[library_benchmark]
#[bench::large(OBJECT)]
fn elf_read(bytes: &'static [u8]) -> Object<'static> {
    Object::parse(bytes).expect("a valid object")
}

#[library_benchmark(setup = edited_object)]
#[bench::large()]
fn elf_edit((mut object, mut linears): (Object<'static>, Vec<Linear<Insn>>)) -> Object<'static> {
    let edits = linears.iter_mut().enumerate().map(|(code, linear)| Edit {
        code,
        insns: core::mem::take(&mut linear.units),
        map: &linear.map,
    });
    let edits = edits.collect();
    object.replace_codes(edits).expect("a valid edit");
    object
}

#[library_benchmark(setup = object)]
#[bench::large()]
fn elf_write(object: Object<'static>) -> Vec<u8> {
    object.write().expect("a valid object")
}

library_benchmark_group!(name = elf; benchmarks = elf_read, elf_edit, elf_write);

// The C library sets and copies greater blocks by one instruction that counts once for each byte: with it, the
// cost of a byte would change with the size of the block.
main!(
    config = LibraryBenchmarkConfig::default().env(
        "GLIBC_TUNABLES",
        "glibc.cpu.x86_rep_stosb_threshold=0x40000000:glibc.cpu.x86_rep_movsb_threshold=0x40000000"
    );
    library_benchmark_groups = creation, edit, whole, tables, bpf, kernel, elf
);
