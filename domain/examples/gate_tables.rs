//! The gate and the history on scripted machines, as tables in Markdown.
//!
//! `cargo run -p domain --example gate_tables -- 4000` with so many runs for each rate (2,000 unless
//! it is said). Seeds are fixed: the same number of runs gives the same tables. Rates here come from
//! simulated noise, not from devices.
#![expect(clippy::print_stdout, reason = "the tables are its result")]

#[path = "../tests/simulator/mod.rs"]
mod simulator;

use std::process::ExitCode;

use domain::gate::rivals;
use domain::history::change::{Change, certified, certified_in_chunks, suspect};
use simulator::{
    Design, Machine, Noise, Rate, Series, Tails, bare, false_alarms, family_alarms, power_at, rule,
    said, sequential_false_alarms, shifts_found,
};

/// What each table's rates are taken at, where it does not vary.
const BLOCK_SD: f64 = 0.01;

fn main() -> ExitCode {
    let runs = std::env::args()
        .nth(1)
        .map_or(Ok(2_000), |runs| runs.parse());
    let Ok(runs) = runs else {
        eprintln!("the number of runs is a whole number, such as 4000");
        return ExitCode::from(2);
    };
    designs(runs);
    verdicts(runs);
    power(runs);
    detectable(runs);
    family(runs.div_ceil(4));
    rivals_alarms(runs.div_ceil(4));
    history(runs);
    ExitCode::SUCCESS
}

const DESIGNS: [Design; 4] = [Design::InTurn, Design::Abab, Design::Abba, Design::Coin];

fn ordered(design: Design) -> &'static str {
    match design {
        Design::InTurn => "A then B",
        Design::Abab => "ABAB",
        Design::Abba => "fixed ABBA",
        Design::Coin => "ABBA or BAAB by coin",
    }
}

fn disturbed(noise: Noise) -> &'static str {
    match noise {
        Noise::None => "none",
        Noise::Ramp => "heat ramp 10 %",
        Noise::Step => "step +6 %",
        Noise::Periodic => "periodic, 4 slots",
        Noise::Walk => "random walk",
        Noise::Bimodal => "bimodal",
    }
}

fn machine(noise: Noise, effect: f64) -> Machine {
    Machine {
        noise,
        tails: Tails::T4,
        block_sd: BLOCK_SD,
        effect,
    }
}

fn row(name: &str, rates: impl IntoIterator<Item = Rate>) {
    let cells: Vec<String> = (rates.into_iter())
        .map(|rate| format!("{:.1}", rate.percent()))
        .collect();
    println!("| {name} | {} |", cells.join(" | "));
}

fn header(title: &str, columns: &[String]) {
    println!("\n{title}\n\n| {} |", columns.join(" | "));
    println!("|{}", "---|".repeat(columns.len()));
}

fn columns(first: &str, rest: impl IntoIterator<Item = String>) -> Vec<String> {
    [first.to_owned()].into_iter().chain(rest).collect()
}

fn designs(runs: u32) {
    let names = || DESIGNS.map(|design| ordered(design).to_owned());
    header(
        "False REGRESSED in per cent, one test at nominal 1 %, 16 blocks, by design:",
        &columns("noise", names()),
    );
    for noise in Noise::ALL {
        row(
            disturbed(noise),
            DESIGNS.map(|design| false_alarms(noise, design, runs)),
        );
    }
    header(
        "False REGRESSED in per cent over all looks up to 48 blocks, alpha 5 %, practical zero 0:",
        &columns("noise", names()),
    );
    for noise in Noise::ALL {
        row(
            disturbed(noise),
            DESIGNS.map(|design| sequential_false_alarms(noise, design, 48, runs)),
        );
    }
}

fn verdicts(runs: u32) {
    let effects = [0.0, 0.005, 0.01, 0.02, 0.03, 0.05];
    header(
        "PASS / REGRESSED / INCONCLUSIVE in per cent, and blocks needed on average, by planted effect (one cell, up to 48 blocks):",
        &columns(
            "noise",
            effects.map(|effect| format!("+{} %", effect * 100.0)),
        ),
    );
    for noise in Noise::ALL {
        let cells = effects.map(|effect| {
            let said = said(&machine(noise, effect), 1, 48, runs);
            format!(
                "{:.1} / {:.1} / {:.1} ({:.0})",
                said.passed.percent(),
                said.regressed.percent(),
                said.inconclusive.percent(),
                said.blocks
            )
        });
        println!("| {} | {} |", disturbed(noise), cells.join(" | "));
    }
}

fn power(runs: u32) {
    let columns = [
        "block sd",
        "m = 12, 24 blocks",
        "48",
        "m = 72, 24 blocks",
        "48",
        "wrong PASS",
    ];
    for (tails, of) in [
        (Tails::T4Blocks, "block values of t4"),
        (Tails::T4, "slots of t4"),
    ] {
        header(
            &format!(
                "REGRESSED in per cent of one cell at a true +2 %, and wrong PASS (48 blocks), by block sd; {of}:"
            ),
            &columns.map(str::to_owned),
        );
        for block_sd in [0.006, 0.010, 0.015, 0.025] {
            let at = Machine {
                noise: Noise::None,
                tails,
                block_sd,
                effect: 0.02,
            };
            let mut rates = Vec::new();
            for (multiplicity, last) in [(12, 24), (12, 48), (72, 24), (72, 48)] {
                rates.push(said(&at, multiplicity, last, runs).regressed);
            }
            rates.push(said(&at, 12, 48, runs).passed);
            row(&format!("{:.1} %", block_sd * 100.0), rates);
        }
    }
}

fn detectable(runs: u32) {
    header(
        "c of the detectable effect (practical zero + c block sd, power 90 %; the worse of normal and t4):",
        &["blocks", "m = 1", "12", "72"].map(str::to_owned),
    );
    for last in [16, 24, 32, 48] {
        let cs = [1, 12, 72].map(|multiplicity| {
            let weakest = |c: f64| {
                [Tails::Normal, Tails::T4Blocks]
                    .map(|tails| power_at(c, multiplicity, last, tails, runs).percent())
                    .into_iter()
                    .fold(100.0, f64::min)
            };
            // Power grows with c: halve until two digits stand.
            let (mut low, mut high) = (0.0, 4.0);
            while high - low > 0.005 {
                let middle = f64::midpoint(low, high);
                if weakest(middle) < 90.0 {
                    low = middle;
                } else {
                    high = middle;
                }
            }
            format!("{high:.2}")
        });
        println!("| {last} | {} |", cs.join(" | "));
    }
}

fn family(runs: u32) {
    header(
        "A gate of 12 cells of one metric, up to 48 blocks, any REGRESSED in per cent:",
        &columns(
            "noise",
            [
                "practical zero 0, unchanged",
                "all at +0.5 %",
                "all at +2 %",
            ]
            .map(str::to_owned),
        ),
    );
    for noise in Noise::ALL {
        let alarms = |effect, rule| family_alarms(&machine(noise, effect), 12, rule, runs);
        row(
            disturbed(noise),
            [
                alarms(0.0, bare(rule(12))),
                alarms(0.005, rule(12)),
                alarms(0.02, rule(12)),
            ],
        );
    }
}

fn rivals_alarms(runs: u32) {
    type Says = fn(&[f64], &[f64], [u8; 32]) -> rivals::Said;
    let rules: [(&str, Says); 3] = [
        ("criterion", rivals::criterion),
        ("hyperfine", |base, candidate, _| {
            rivals::hyperfine(base, candidate)
        }),
        ("t-test", |base, candidate, _| {
            rivals::t_test(base, candidate)
        }),
    ];
    let orders = [Design::InTurn, Design::Coin];
    let names = rules
        .iter()
        .flat_map(|(name, _)| orders.map(|order| format!("{name}, {}", ordered(order))));
    header(
        "Other tools' rules on 32 slots of each arm of an unchanged candidate, said to differ in per cent:",
        &columns("noise", names),
    );
    for noise in Noise::ALL {
        let rates = rules.iter().flat_map(|(_, says)| {
            orders.map(|design| {
                Rate::of(runs, 6, |dice| {
                    let (base, candidate) = machine(noise, 0.0).costs(design, 16, dice);
                    let seed = dice.seed();
                    says(&base, &candidate, seed) != rivals::Said::NoChange
                })
            })
        });
        row(disturbed(noise), rates);
    }
}

fn history(runs: u32) {
    type Finds = fn(&[f64], [u8; 32]) -> Vec<Change>;
    let tests: [(&str, Finds); 3] = [
        ("suspect", |values, _| suspect(values).into_iter().collect()),
        ("certified", certified),
        ("certified, in chunks", certified_in_chunks),
    ];
    header(
        "Any false change in 100 points, and a shift of 2 sd found after so many points (48 before), in per cent:",
        &[
            "test",
            "iid",
            "AR(0.5)",
            "spikes",
            "found after 5",
            "8",
            "12",
        ]
        .map(str::to_owned),
    );
    for (name, finds) in tests {
        let false_changes = [Series::Iid, Series::Dependent, Series::Spiky]
            .map(|series| series.false_changes(finds, runs));
        let found = [5, 8, 12].map(|after| shifts_found(finds, after, runs));
        row(name, false_changes.into_iter().chain(found));
    }
}
