//! Runs every peer at every work and writes the report: JSON, a Markdown table, pictures.

use std::collections::HashMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;
use std::{env, fs};

use relinear_bench::measure::{self, Effort};
use relinear_bench::rows::{self, Row};
use relinear_bench::{Shape, Work, cold, memory, objects, parts as own, peers, plot, shares};

#[global_allocator]
static ALLOCATOR: memory::Counting = memory::Counting;

const USAGE: &str = "\
usage: report [--quick] [--out DIR] [--n N,N...] [--work a,b...] [--peer NAME,NAME...]
              [--no-cold] [--no-tables] [--no-growth | --growth] [--objects RELINEAR OBJECT...]
       report --once WORK N PEER RUNS    repeats one run, for a profiler
       report --parts N [RUNS]           times the parts of our own runs

Works are a to f. Sizes are in units. --quick leaves out the greatest and takes fewer samples.";

/// What to run.
struct Plan {
    effort: Effort,
    sizes: Vec<u32>,
    cold_sizes: Vec<u32>,
    /// At which ours is compared with itself, and with copying.
    growth_sizes: Vec<u32>,
    table_sizes: Vec<u32>,
    shapes: Vec<Shape>,
    cold_shapes: Vec<Shape>,
    peers: Vec<&'static str>,
    out: PathBuf,
    /// The `relinear` command and the objects to patch with it.
    objects: Option<(PathBuf, Vec<PathBuf>)>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some(cold::CHILD) => {
            cold::child(&args[1..]);
            return Ok(());
        }
        Some("--once") => return once(&args[1..]),
        Some("--parts") => return parts(&args[1..]),
        Some("--help") => {
            println!("{USAGE}");
            return Ok(());
        }
        _ => {}
    }
    memory::keep_freed_memory();
    let plan = plan(&args)?;
    let start = Instant::now();
    let progress = |what: &str, n: u32, shape: Shape| {
        eprintln!("{:5.1} s  {what}, {n} units, work {}", start.elapsed().as_secs_f64(), shape.name());
    };
    // First, as what a process has had in RAM is handed down to the processes it starts.
    let objects = match &plan.objects {
        Some((relinear, objects)) => patch_objects(&plan, relinear, objects)?,
        None => String::new(),
    };
    let (mut bare, mut with_tables) = (Vec::new(), Vec::new());
    for (sizes, tables, rows) in
        [(&plan.sizes, false, &mut bare), (&plan.table_sizes, true, &mut with_tables)]
    {
        let mut quadratic = HashMap::new();
        for &n in sizes {
            for &shape in &plan.shapes {
                progress(if tables { "warm, with tables" } else { "warm" }, n, shape);
                let names = affordable(&plan, n, &quadratic, shape);
                let measured = measure::warm(&Work::new(shape, n, tables), &names, &plan.effort);
                let slow = measured.iter().find(|row| row.peer == "kernel_array");
                quadratic.extend(slow.map(|row| (shape.name(), (n, row.median_ns))));
                rows.extend(measured);
            }
        }
    }
    for &n in &plan.cold_sizes {
        for &shape in plan.shapes.iter().filter(|shape| plan.cold_shapes.contains(shape)) {
            progress("cold", n, shape);
            let names = affordable(&plan, n, &HashMap::new(), shape);
            bare.extend(measure::cold(&Work::new(shape, n, false), &names, &plan.effort)?);
        }
    }
    for &n in &plan.growth_sizes {
        for shape in [Shape::A, Shape::C] {
            progress("warm, growth", n, shape);
            // The first run, which faults all memory in, may take long: it is not the one that is asked for.
            let effort = Effort { longest: u64::MAX, ..plan.effort };
            bare.extend(measure::warm(&Work::new(shape, n, false), &["relinear", "memcpy"], &effort));
        }
    }
    write(&plan, &bare, &with_tables, &objects)?;
    eprintln!("{:5.1} s  done: {}", start.elapsed().as_secs_f64(), plan.out.display());
    Ok(())
}

/// The peers that can make the work in time. The quadratic one is judged by what it took for less.
fn affordable(plan: &Plan, n: u32, quadratic: &HashMap<&str, (u32, u64)>, shape: Shape) -> Vec<&'static str> {
    let in_time = match quadratic.get(shape.name()) {
        Some(&(before, ns)) => {
            let times = u64::from(n / before);
            ns.saturating_mul(times * times) <= plan.effort.longest
        }
        None => n <= 4096,
    };
    plan.peers.iter().copied().filter(|&name| name != "kernel_array" || in_time).collect()
}

fn write(plan: &Plan, bare: &[Row], with_tables: &[Row], objects: &str) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(&plan.out)?;
    fs::write(plan.out.join("report.json"), serde_json::to_string_pretty(bare)?)?;
    fs::write(plan.out.join("tables.json"), serde_json::to_string_pretty(with_tables)?)?;
    let text = format!(
        "# Report\n\n{}\n## Without side tables\n\n{}## With line info and subprograms\n\n{}{objects}",
        rows::METHOD,
        rows::markdown(bare),
        rows::markdown(with_tables),
    );
    fs::write(plan.out.join("report.md"), &text)?;
    plot::by_size(bare, &plot::TIME, &plan.out.join("time.svg"))?;
    plot::by_size(bare, &plot::MEMORY, &plan.out.join("memory.svg"))?;
    print!("{}", rows::summary(bare));
    Ok(())
}

/// Measures the command at whole objects, and returns what to say of it.
fn patch_objects(plan: &Plan, relinear: &Path, files: &[PathBuf]) -> Result<String, Box<dyn Error>> {
    let whole = objects::measure(relinear, files, plan.effort.processes, &plan.out.join("objects"))?;
    let shares = shares::measure(files, plan.effort.processes)?;
    fs::write(plan.out.join("objects.json"), serde_json::to_string_pretty(&whole)?)?;
    fs::write(plan.out.join("shares.json"), serde_json::to_string_pretty(&shares)?)?;
    plot::shares(&shares, &plan.out.join("shares.svg"))?;
    let text = objects::markdown(&whole);
    print!("{text}\n{}\n", shares::markdown(&shares));
    Ok(format!("## Whole objects\n\n{text}\n## Where the time goes\n\n{}", shares::markdown(&shares)))
}

fn plan(args: &[String]) -> Result<Plan, Box<dyn Error>> {
    let quick = args.iter().any(|arg| arg == "--quick");
    let mut plan = Plan {
        effort: if quick { Effort::QUICK } else { Effort::FULL },
        sizes: vec![256, 1 << 12, 1 << 16, 1 << 20],
        cold_sizes: vec![1 << 20],
        growth_sizes: if quick { Vec::new() } else { vec![1 << 22, 1 << 26] },
        table_sizes: if quick { vec![1 << 16] } else { vec![1 << 12, 1 << 20] },
        shapes: Shape::ALL.to_vec(),
        cold_shapes: if quick { vec![Shape::A, Shape::C] } else { Shape::ALL.to_vec() },
        peers: peers::NAMES.to_vec(),
        out: PathBuf::from("target/bench"),
        objects: None,
    };
    if !quick {
        plan.sizes.push(1 << 24);
    }
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value\n{USAGE}"));
        match arg.as_str() {
            "--quick" => {}
            "--no-cold" => plan.cold_sizes.clear(),
            "--no-growth" => plan.growth_sizes.clear(),
            "--growth" => plan.growth_sizes = vec![1 << 22, 1 << 26],
            "--no-tables" => plan.table_sizes.clear(),
            "--objects" => {
                let relinear = value()?.into();
                plan.objects = Some((relinear, args.by_ref().map(PathBuf::from).collect()));
            }
            "--out" => plan.out = value()?.into(),
            "--n" => {
                plan.sizes = value()?.split(',').map(str::parse).collect::<Result<_, _>>()?;
                plan.cold_sizes.retain(|n| plan.sizes.contains(n));
                plan.table_sizes.retain(|n| plan.sizes.contains(n));
                plan.growth_sizes.clear();
            }
            "--work" => {
                let shapes = value()?.split(',').map(Shape::from_name).collect::<Option<_>>();
                plan.shapes = shapes.ok_or("works are a to f")?;
            }
            "--peer" => {
                let wanted: Vec<&str> = value()?.split(',').collect();
                plan.peers.retain(|name| wanted.contains(name));
            }
            _ => return Err(format!("what is {arg}?\n{USAGE}").into()),
        }
    }
    Ok(plan)
}

fn once(args: &[String]) -> Result<(), Box<dyn Error>> {
    let [shape, n, name, runs] = args else { return Err(USAGE.into()) };
    let work = Work::new(Shape::from_name(shape).ok_or("works are a to f")?, n.parse()?, false);
    let mut peer = peers::by_name(name, &measure::result(&work)).ok_or("no such peer")?;
    let runs: u32 = runs.parse()?;
    let start = Instant::now();
    for _ in 0..runs {
        peer.run(&work);
    }
    eprintln!("{:?} a run", start.elapsed() / runs.max(1));
    Ok(())
}

fn parts(args: &[String]) -> Result<(), Box<dyn Error>> {
    let (Some(n), runs) = (args.first(), args.get(1)) else { return Err(USAGE.into()) };
    let (n, runs) = (n.parse()?, runs.map_or(Ok(15), |runs| runs.parse())?);
    println!("{:4} {}", "work", own::NAMES.map(|name| format!("{name:>22}")).join(" "));
    for shape in Shape::ALL {
        let times = own::times(&Work::new(shape, n, false), runs);
        let cells = times.map(|ns| format!("{:>12} {:6.2} ns", rows::nanos(ns), ns as f64 / f64::from(n)));
        println!("{:4} {}", shape.name(), cells.join(" "));
    }
    Ok(())
}
