//! Runs every peer at every work and writes the report.

use relinear_bench::measure::{self, Effort};
use relinear_bench::{Shape, Work, memory, peers};

#[global_allocator]
static ALLOCATOR: memory::Counting = memory::Counting;

fn main() {
    memory::keep_freed_memory();
    let effort = Effort::QUICK;
    let args: Vec<String> = std::env::args().collect();
    if args.len() > 3 {
        let work = Work::new(Shape::from_name(&args[1]).unwrap(), args[2].parse().unwrap(), false);
        let mut peer = peers::by_name(&args[3], &measure::result(&work)).unwrap();
        let t = std::time::Instant::now();
        let mut i = 0;
        while i < args[4].parse::<u32>().unwrap() { peer.run(&work); i += 1; }
        println!("{:?}", t.elapsed() / i);
        return;
    }
    for n in [4096, 1 << 16, 1 << 20] {
        for shape in Shape::ALL {
            let work = Work::new(shape, n, false);
            let names: Vec<_> =
                peers::NAMES.into_iter().filter(|&name| name != "kernel_array" || n <= 4096).collect();
            let rows = measure::warm(&work, &names, &effort);
            let ours = rows[0].median_ns;
            let floor = rows[1].median_ns;
            println!("work {} n {n} out {}", shape.name(), rows[0].units_out);
            for row in rows {
                println!(
                    "  {:14} {:12.3} us {:8.2} ns/unit {:7.2} x memcpy {:7.2} x ours  {:7.2} B/out, {} calls {} faults",
                    row.peer,
                    row.median_ns as f64 / 1e3,
                    row.median_ns as f64 / f64::from(n),
                    row.median_ns as f64 / floor as f64,
                    row.median_ns as f64 / ours as f64,
                    row.peak_bytes as f64 / row.units_out as f64,
                    row.calls,
                    row.faults,
                );
            }
        }
    }
}
