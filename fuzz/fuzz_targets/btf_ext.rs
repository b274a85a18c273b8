//! Objects with `.BTF` and `.BTF.ext` that are made up.
#![no_main]

use libfuzzer_sys::fuzz_target;
use relinear::fuzzing::{BtfExtCase, check_btf_ext};

fuzz_target!(|case: BtfExtCase| check_btf_ext(&case));
