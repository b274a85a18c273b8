//! The core of relinear in a program without the standard library: it defines an instruction set of
//! bytes, edits a program, and exits with 0 if the result is what it has to be.

#![no_std]
#![no_main]

extern crate alloc;

use core::alloc::{GlobalAlloc, Layout};
use core::ffi::{c_char, c_int, c_void};
use core::ops::RangeInclusive;

use relinear::{Arena, Handle, Isa, List, Patch};

unsafe extern "C" {
    fn aligned_alloc(align: usize, size: usize) -> *mut c_void;
    fn free(block: *mut c_void);
    fn abort() -> !;
}

struct Malloc;

// SAFETY: `aligned_alloc` gives a block of at least the size and alignment asked for, or null, and
// `free` takes any such block.
unsafe impl GlobalAlloc for Malloc {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let size = layout.size().next_multiple_of(layout.align());
        // SAFETY: the alignment is a power of two, and the size a multiple of it.
        unsafe { aligned_alloc(layout.align(), size).cast() }
    }

    unsafe fn dealloc(&self, block: *mut u8, _: Layout) {
        // SAFETY: the block came from `alloc`.
        unsafe { free(block.cast()) }
    }
}

#[global_allocator]
static MALLOC: Malloc = Malloc;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: it takes no arguments.
    unsafe { abort() }
}

/// The libraries that come with the compiler unwind, and name this.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// The same.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() {}

/// `0xe9` and a signed byte: a jump, which counts from its end. Any other byte: an instruction.
#[derive(Clone, Copy, Debug, Default)]
struct Bytes;

impl Isa for Bytes {
    type Unit = u8;
    fn len(&self, units: &[u8]) -> Option<usize> {
        let len = if *units.first()? == 0xe9 { 2 } else { 1 };
        (units.len() >= len).then_some(len)
    }

    fn fields(&self, insn: &[u8]) -> usize {
        insn.len() - 1
    }

    fn base(&self, _: &[u8], _: usize) -> i64 {
        2
    }

    fn read(&self, insn: &[u8], _: usize) -> i64 {
        i64::from(insn[1].cast_signed())
    }

    fn range(&self, _: &[u8], _: usize) -> RangeInclusive<i64> {
        i64::from(i8::MIN)..=i64::from(i8::MAX)
    }

    fn write(&self, insn: &mut [u8], _: usize, displacement: i64) {
        insn[1] = displacement as u8;
    }
}

fn edit() -> Result<bool, relinear::Error> {
    // 0: a   1: jump to 4   3: b   4: c   5: jump to 0
    let program = [b'a', 0xe9, 1, b'b', b'c', 0xe9, 0_u8.wrapping_sub(7)];
    let arena = Arena::new();
    let mut list = List::<Bytes>::new(&arena, &program)?;
    list.replace(Handle::new(0), Patch::new(b"xyz"))?;
    list.prepend(Handle::new(4), Patch::new(b"!"))?;
    list.delete(Handle::new(3))?;
    let out = list.linearize()?;
    Ok(out.units == [b'x', b'y', b'z', 0xe9, 0, b'!', b'c', 0xe9, 0_u8.wrapping_sub(9)])
}

#[unsafe(no_mangle)]
extern "C" fn main(_: c_int, _: *const *const c_char) -> c_int {
    c_int::from(edit() != Ok(true))
}
