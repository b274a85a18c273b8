//! Wall time by criterion: every peer at every work, and the parts of our own.

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use relinear::bpf::Bpf;
use relinear::{Arena, Linear, List};
use relinear_bench::{Shape, Work, measure, memory, parts, peers};

const SIZES: [u32; 3] = [4096, 1 << 16, 1 << 20];

fn peers(c: &mut Criterion) {
    memory::keep_freed_memory();
    for shape in Shape::ALL {
        let mut group = c.benchmark_group(shape.name());
        for n in SIZES {
            let work = Work::new(shape, n, false);
            let expected = measure::result(&work);
            group.throughput(Throughput::Elements(u64::from(n)));
            for name in peers::NAMES.iter().copied().filter(|&name| name != "kernel_array" || n <= 4096) {
                let mut peer = peers::by_name(name, &expected).expect("a peer");
                peer.run(&work);
                assert!(*peer.output() == expected, "{name} disagrees about work {}", shape.name());
                group.bench_function(BenchmarkId::new(name, n), |b| b.iter(|| peer.run(&work)));
            }
        }
    }
}

fn ours(c: &mut Criterion) {
    let mut group = c.benchmark_group("parts");
    for n in SIZES {
        group.throughput(Throughput::Elements(u64::from(n)));
        for shape in Shape::ALL {
            let work = Work::new(shape, n, false);
            let (mut arena, mut inserted) = (Arena::new(), Vec::new());
            let name = |part: &str| BenchmarkId::new(format!("{}/{part}", shape.name()), n);
            group.bench_function(name("edit"), |b| {
                b.iter_custom(|runs| {
                    let mut total = Duration::ZERO;
                    for _ in 0..runs {
                        arena.reset();
                        let mut list = List::<Bpf>::new(&arena, &work.program).expect("it is valid");
                        let start = Instant::now();
                        parts::edit(&mut list, &work, &mut inserted);
                        total += start.elapsed();
                    }
                    total
                });
            });
            arena.reset();
            let mut list = List::<Bpf>::new(&arena, &work.program).expect("it is valid");
            parts::edit(&mut list, &work, &mut inserted);
            let mut out = Linear::default();
            group.bench_function(name("linearize"), |b| b.iter(|| list.linearize_into(&mut out)));
            group.bench_function(name("iterate"), |b| b.iter(|| list.iter().count()));
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = peers, ours
}
criterion_main!(benches);
