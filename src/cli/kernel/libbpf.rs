//! Loading by libbpf, if it is installed: it is looked for when the command runs, so nothing of it is needed to build.
//!
//! What is called is declared in `bpf/libbpf.h` and `bpf/bpf.h` of libbpf 1.0; later versions 1.x keep all of it.
// It is a library in C.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::io;
use std::ptr;
use std::sync::{Mutex, PoisonError};

use libloading::Library;

use super::super::failure::reason;
use super::{Outcome, Program, Verdict};

/// `BPF_LOG_STATS` of the verifier: the statistics, and what is wrong.
const STATISTICS: u32 = 4;
/// `BPF_LOG_LEVEL1` in addition: what it knows at each instruction of the path that it rejects.
const PATH: u32 = STATISTICS | 1;
/// `BPF_MAP_TYPE_STRUCT_OPS` and `BPF_PROG_TYPE_STRUCT_OPS`.
const MAP_STRUCT_OPS: u32 = 26;
const PROG_STRUCT_OPS: u32 = 27;
/// Room for the log, in bytes. Kernels before 6.4 fail if it is too short.
const LOG: usize = 1 << 20;
const LONG_LOG: usize = (1 << 24) - 1;

/// `struct bpf_object`, `struct bpf_program`, `struct bpf_map`: known to libbpf alone.
type Object = *mut c_void;
type Prog = *mut c_void;
type Map = *mut c_void;
/// The third argument is a `va_list`, which is passed as a pointer by the ABIs of all 64-bit architectures of Linux.
type Print = unsafe extern "C" fn(c_int, *const c_char, *mut c_void) -> c_int;

unsafe extern "C" {
    /// Of the C library, which the standard library is linked with.
    fn vsnprintf(buffer: *mut c_char, size: usize, format: *const c_char, args: *mut c_void) -> c_int;
}

/// What libbpf has warned of since somebody looked.
static WARNINGS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Takes a message of libbpf's.
unsafe extern "C" fn take_message(level: c_int, format: *const c_char, args: *mut c_void) -> c_int {
    // 0 is `LIBBPF_WARN`; others tell of progress.
    if level == 0 {
        let mut text = [0_u8; 512];
        // SAFETY: libbpf passes a format and the arguments for it; at most as many bytes are written as there are,
        // a NUL among them.
        unsafe { vsnprintf(text.as_mut_ptr().cast(), text.len(), format, args) };
        let text = CStr::from_bytes_until_nul(&text).unwrap_or_default().to_string_lossy();
        let text = text.trim().trim_start_matches("libbpf: ").to_owned();
        WARNINGS.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }
    0
}

fn take_warnings() -> Vec<String> {
    std::mem::take(&mut *WARNINGS.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Declares the functions of libbpf that are called.
macro_rules! functions {
    ($($name:ident = $symbol:literal: fn($($arg:ty),*) -> $out:ty;)*) => {
        /// libbpf, and its functions.
        pub(super) struct Libbpf {
            $($name: unsafe extern "C" fn($($arg),*) -> $out,)*
            /// The functions are there as long as it is.
            _library: Library,
        }

        impl Libbpf {
            fn open() -> Result<Self, libloading::Error> {
                // SAFETY: libbpf does nothing when it is loaded.
                let library = unsafe { Library::new("libbpf.so.1") }?;
                // SAFETY: the types are those of the headers.
                let found = unsafe { ($(*library.get::<unsafe extern "C" fn($($arg),*) -> $out>($symbol)?,)*) };
                let ($($name,)*) = found;
                Ok(Self { $($name,)* _library: library })
            }
        }
    };
}

functions! {
    set_print = b"libbpf_set_print\0": fn(Option<Print>) -> Option<Print>;
    version_string = b"libbpf_version_string\0": fn() -> *const c_char;
    open_mem = b"bpf_object__open_mem\0": fn(*const c_void, usize, *const c_void) -> Object;
    load_object = b"bpf_object__load\0": fn(Object) -> c_int;
    close = b"bpf_object__close\0": fn(Object) -> ();
    next_program = b"bpf_object__next_program\0": fn(Object, Prog) -> Prog;
    next_map = b"bpf_object__next_map\0": fn(Object, Map) -> Map;
    set_pin_path = b"bpf_map__set_pin_path\0": fn(Map, *const c_char) -> c_int;
    map_type = b"bpf_map__type\0": fn(Map) -> u32;
    program_type = b"bpf_program__type\0": fn(Prog) -> u32;
    name = b"bpf_program__name\0": fn(Prog) -> *const c_char;
    section_name = b"bpf_program__section_name\0": fn(Prog) -> *const c_char;
    set_autoload = b"bpf_program__set_autoload\0": fn(Prog, bool) -> c_int;
    set_log_buf = b"bpf_program__set_log_buf\0": fn(Prog, *mut c_char, usize) -> c_int;
    set_log_level = b"bpf_program__set_log_level\0": fn(Prog, u32) -> c_int;
    fd = b"bpf_program__fd\0": fn(Prog) -> c_int;
    info_by_fd = b"bpf_obj_get_info_by_fd\0": fn(c_int, *mut c_void, *mut u32) -> c_int;
}

impl Libbpf {
    /// libbpf, if it is installed.
    pub(super) fn new() -> Option<Self> {
        let libbpf = Self::open().ok()?;
        // SAFETY: the function is there as long as the process.
        unsafe { (libbpf.set_print)(Some(take_message)) };
        Some(libbpf)
    }

    pub(super) fn version(&self) -> String {
        // SAFETY: it is a constant of the library.
        let version = unsafe { text((self.version_string)()) };
        format!("libbpf {}", version.trim_start_matches('v'))
    }

    /// Loads the programs of an object, each alone. `expected` are those that it should have.
    pub(super) fn load(&self, bytes: &[u8], expected: &[Program]) -> Vec<Verdict> {
        let programs = match Opened::new(self, bytes) {
            Ok(opened) => opened.programs().map(|program| opened.describe(program)).collect(),
            Err(reason) => {
                let verdict = |program| Verdict::new(program, Outcome::Skipped { reason: reason.clone() });
                return expected.iter().map(verdict).collect();
            }
        };
        let programs: Vec<Program> = programs;
        let load = |(index, program)| Verdict::new(program, self.load_one(bytes, index));
        programs.iter().enumerate().map(load).collect()
    }

    /// Loads the program of this index alone.
    fn load_one(&self, bytes: &[u8], index: usize) -> Outcome {
        let outcome = self.try_one(bytes, index, STATISTICS, LOG);
        if !matches!(outcome, Outcome::Rejected { .. }) {
            return outcome;
        }
        // The path to what is wrong, unless it is too long for an old kernel.
        match self.try_one(bytes, index, PATH, LONG_LOG) {
            Outcome::Rejected { reason, log } if !log.is_empty() => Outcome::Rejected { reason, log },
            _ => outcome,
        }
    }

    fn try_one(&self, bytes: &[u8], index: usize, level: u32, room: usize) -> Outcome {
        let mut log = vec![0_u8; room];
        let opened = match Opened::new(self, bytes) {
            Ok(opened) => opened,
            Err(reason) => return Outcome::Skipped { reason },
        };
        let Some(program) = opened.select(index) else {
            return Outcome::Skipped { reason: "libbpf does not find it again".to_owned() };
        };
        // SAFETY: the buffer lives longer than `opened`, which is dropped first.
        unsafe {
            (self.set_log_buf)(program, log.as_mut_ptr().cast(), log.len());
            (self.set_log_level)(program, level);
        }
        let name = opened.describe(program).name;
        // SAFETY: the object is open.
        let code = unsafe { (self.load_object)(opened.object) };
        let warnings = take_warnings();
        // SAFETY: the object is open.
        let info = self.info(unsafe { (self.fd)(program) });
        drop(opened);
        let log = CStr::from_bytes_until_nul(&log).unwrap_or_default().to_string_lossy().into_owned();
        let refusal = format!("prog '{name}': BPF program load failed");
        let refused = warnings.iter().any(|warning| warning.contains(&refusal));
        let processed = processed(&log);
        // What comes after the programs (struct_ops maps want all of theirs) is not asked for.
        if code == 0 || (!refused && processed.is_some()) {
            let (translated_bytes, verified_insns) = info.unzip();
            return Outcome::Accepted { log, verified_insns: verified_insns.or(processed), translated_bytes };
        }
        let error = io::Error::from_raw_os_error(code.saturating_neg());
        let denied = error.kind() == io::ErrorKind::PermissionDenied && log.is_empty();
        if refused && !denied {
            return Outcome::Rejected { reason: reason(&error), log };
        }
        let first = warnings.into_iter().next().unwrap_or_default();
        Outcome::Skipped { reason: told(&error, &first) }
    }

    /// The bytes that a program was translated to, and how many instructions the verifier went through.
    fn info(&self, fd: c_int) -> Option<(u32, u32)> {
        // The start of `struct bpf_prog_info`, in words: `xlated_prog_len` is the sixth, `verified_insns` the 55th.
        let mut info = [0_u32; 58];
        let mut len = u32::try_from(size_of_val(&info)).ok()?;
        // SAFETY: so many bytes are there to be written to; a descriptor that is none is an error.
        let code = unsafe { (self.info_by_fd)(fd, info.as_mut_ptr().cast(), &raw mut len) };
        (code == 0).then_some((info[5], info[54]))
    }
}

/// How many instructions the verifier went through, out of its statistics.
fn processed(log: &str) -> Option<u32> {
    log.lines().find_map(|line| line.strip_prefix("processed ")?.split(' ').next()?.parse().ok())
}

/// An error, and what libbpf has said of it. Its own numbers, from 4000 on, have no text.
fn told(error: &io::Error, warning: &str) -> String {
    match error.raw_os_error() {
        Some(4000..) => warning.to_owned(),
        _ if warning.is_empty() => reason(error),
        _ => format!("{}: {warning}", reason(error)),
    }
}

/// The start of `struct bpf_object_open_opts`: libbpf takes all after it for 0.
#[repr(C)]
struct Options {
    len: usize,
    name: *const c_char,
}

/// An object that libbpf has read.
struct Opened<'a> {
    libbpf: &'a Libbpf,
    object: Object,
}

impl<'a> Opened<'a> {
    fn new(libbpf: &'a Libbpf, bytes: &[u8]) -> Result<Self, String> {
        drop(take_warnings());
        let options = Options { len: size_of::<Options>(), name: c"object".as_ptr() };
        // SAFETY: so many bytes are there; libbpf copies what it keeps.
        let object =
            unsafe { (libbpf.open_mem)(bytes.as_ptr().cast(), bytes.len(), (&raw const options).cast()) };
        if object.is_null() {
            let error = io::Error::last_os_error();
            let first = take_warnings().into_iter().next().unwrap_or_default();
            return Err(format!("libbpf cannot read the object: {}", told(&error, &first)));
        }
        let opened = Self { libbpf, object };
        // Nothing is to stay behind, and no map of somebody else's is to be taken.
        for map in opened.maps() {
            // SAFETY: the object is open, and so its maps are there; NULL is no path.
            unsafe { (libbpf.set_pin_path)(map, ptr::null()) };
        }
        Ok(opened)
    }

    fn programs(&self) -> impl Iterator<Item = Prog> {
        // SAFETY: the object is open.
        each(|last| unsafe { (self.libbpf.next_program)(self.object, last) })
    }

    fn maps(&self) -> impl Iterator<Item = Map> {
        // SAFETY: the object is open.
        each(|last| unsafe { (self.libbpf.next_map)(self.object, last) })
    }

    fn describe(&self, program: Prog) -> Program {
        // SAFETY: the object is open, and its texts are there as long as it is.
        unsafe {
            Program {
                name: text((self.libbpf.name)(program)),
                section: text((self.libbpf.section_name)(program)),
            }
        }
    }

    /// Wants nothing but the program of this index to be loaded.
    ///
    /// With a `struct_ops` map there is a program for one in addition: libbpf 1.1 looks the map up in the types of the
    /// kernel, but reads them for programs only.
    fn select(&self, index: usize) -> Option<Prog> {
        // SAFETY: the object is open.
        let has_ops = self.maps().any(|map| unsafe { (self.libbpf.map_type)(map) } == MAP_STRUCT_OPS);
        // SAFETY: the object is open.
        let is_for_ops = |program| unsafe { (self.libbpf.program_type)(program) } == PROG_STRUCT_OPS;
        let selected = self.programs().nth(index)?;
        let beside = self.programs().find(|&program| is_for_ops(program));
        let beside = beside.filter(|_| has_ops && !is_for_ops(selected));
        for program in self.programs() {
            let wanted = program == selected || Some(program) == beside;
            // SAFETY: the object is open, and not loaded yet.
            unsafe { (self.libbpf.set_autoload)(program, wanted) };
        }
        Some(selected)
    }
}

impl Drop for Opened<'_> {
    fn drop(&mut self) {
        // SAFETY: nobody has the object any more.
        unsafe { (self.libbpf.close)(self.object) };
    }
}

/// All that `next` leads to, from NULL on and up to it.
fn each(next: impl Fn(*mut c_void) -> *mut c_void) -> impl Iterator<Item = *mut c_void> {
    let first = next(ptr::null_mut());
    std::iter::successors(Some(first), move |&last| if last.is_null() { None } else { Some(next(last)) })
        .take_while(|found| !found.is_null())
}

/// A text of libbpf's.
///
/// # Safety
///
/// It is NULL, or ends with a NUL.
unsafe fn text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: as the caller says.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}
