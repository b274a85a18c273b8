//! All peers agree about all works, with and without side tables, again and again in the same memory.

use relinear_bench::{Shape, Work, measure, peers};

#[test]
fn peers_agree() {
    for (n, tables) in [(16, true), (17, false), (100, true), (1000, true), (3000, false)] {
        for shape in Shape::ALL {
            let work = Work::new(shape, n, tables);
            let expected = measure::result(&work);
            for name in peers::NAMES {
                let mut peer = peers::by_name(name, &expected).expect("a peer");
                for run in 0..3 {
                    peer.run(&work);
                    assert!(
                        *peer.output() == expected,
                        "{name}, work {}, {n} units, run {run}",
                        shape.name()
                    );
                }
            }
        }
    }
}

#[test]
fn an_eighth_are_branches_and_edits_are_as_many_as_said() {
    for shape in Shape::ALL {
        let n = 1 << 14;
        let work = Work::new(shape, n, false);
        let wide = work.program.iter().filter(|insn| insn.is_wide()).count();
        let insns = f64::from(n) - wide as f64;
        let branches = work.program.iter().filter(|insn| relinear_bench::branch::is_branch(insn)).count();
        assert!((branches as f64 / insns - 0.125).abs() < 0.002);
        let shares: Vec<f64> = work.passes.iter().map(|pass| pass.edits.len() as f64 / insns).collect();
        let near = |share: f64, wanted: f64| (share / wanted - 1.0).abs() < 0.1;
        match shape {
            Shape::A => assert!(near(shares[0], 1.0)),
            Shape::B => assert!(near(shares[0], 0.1)),
            Shape::C => assert!(near(shares[0], 0.01)),
            Shape::D => {
                let gone: u32 = work.passes[0].edits.iter().map(|edit| u32::from(edit.len)).sum();
                assert!(near(f64::from(gone) / f64::from(n), 0.3), "{gone}");
            }
            Shape::E => {
                assert!(
                    near(shares[0], 0.25) && near(shares[1], 0.125) && near(shares[2], 0.1),
                    "{shares:?}"
                );
            }
            Shape::F => assert!(near(shares[0], 0.25)),
        }
    }
}
