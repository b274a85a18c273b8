//! Links what a C program links: the program has no runtime of Rust's.

fn main() {
    println!("cargo::rustc-link-lib=c");
}
