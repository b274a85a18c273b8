//! How much memory is in use: a counting allocator, page faults, and what the C allocator keeps.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering::Relaxed};

/// The system's allocator. It counts bytes between [`start_counting`] and [`stop_counting`]; when it does
/// not, it costs one branch. Only one thread may run meanwhile.
pub struct Counting;

static ON: AtomicBool = AtomicBool::new(false);
static LIVE: AtomicIsize = AtomicIsize::new(0);
static PEAK: AtomicIsize = AtomicIsize::new(0);
static CALLS: AtomicIsize = AtomicIsize::new(0);

#[cold]
fn count(by: isize) {
    let live = LIVE.load(Relaxed) + by;
    LIVE.store(live, Relaxed);
    PEAK.store(PEAK.load(Relaxed).max(live), Relaxed);
    CALLS.store(CALLS.load(Relaxed) + isize::from(by > 0), Relaxed);
}

// SAFETY: every call goes to `System` unchanged.
unsafe impl GlobalAlloc for Counting {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if ON.load(Relaxed) {
            count(layout.size().cast_signed());
        }
        // SAFETY: by the caller's contract.
        unsafe { System.alloc(layout) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if ON.load(Relaxed) {
            count(layout.size().cast_signed());
        }
        // SAFETY: by the caller's contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        if ON.load(Relaxed) {
            count(-layout.size().cast_signed());
        }
        // SAFETY: by the caller's contract.
        unsafe { System.dealloc(at, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if ON.load(Relaxed) {
            count(size.cast_signed() - layout.size().cast_signed());
        }
        // SAFETY: by the caller's contract.
        unsafe { System.realloc(at, layout, size) }
    }
}

/// What was counted.
#[derive(Clone, Copy, Debug)]
pub struct Counts {
    /// The most bytes in use at once, beyond those at the start.
    pub peak: usize,
    /// Bytes in use at the end, beyond those at the start.
    pub live: usize,
    /// How many times memory was asked for.
    pub calls: usize,
}

/// Counts from here.
pub fn start_counting() {
    LIVE.store(0, Relaxed);
    PEAK.store(0, Relaxed);
    CALLS.store(0, Relaxed);
    ON.store(true, Relaxed);
}

/// Forgets the peak and the calls so far, but not the bytes in use.
pub fn forget_peak() {
    PEAK.store(LIVE.load(Relaxed), Relaxed);
    CALLS.store(0, Relaxed);
}

/// Ends the count.
#[must_use]
pub fn stop_counting() -> Counts {
    ON.store(false, Relaxed);
    let clamp = |count: &AtomicIsize| usize::try_from(count.load(Relaxed)).unwrap_or(0);
    Counts { peak: clamp(&PEAK), live: clamp(&LIVE), calls: clamp(&CALLS) }
}

/// Makes the C allocator keep all memory that is freed, mapped: after the first run no peer meets a
/// page that it has to fault in, whether it allocates node by node or in blocks.
pub fn keep_freed_memory() {
    // SAFETY: sets numbers of the C library's allocator, before any other thread runs.
    unsafe {
        libc::mallopt(libc::M_MMAP_MAX, 0);
        libc::mallopt(libc::M_TRIM_THRESHOLD, -1);
        libc::mallopt(libc::M_TOP_PAD, 64 << 20);
    }
}

/// Page faults of this process so far.
#[must_use]
pub fn page_faults() -> u64 {
    // SAFETY: `rusage` is plain numbers, and the call fills it in.
    let usage = unsafe {
        let mut usage: libc::rusage = core::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    };
    u64::try_from(usage.ru_minflt + usage.ru_majflt).unwrap_or(0)
}
