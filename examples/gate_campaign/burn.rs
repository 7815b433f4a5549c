//! Other programs that load the core that is measured on, at random times.

use std::hint::black_box;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};

/// Arithmetic on one core for so long.
pub(crate) fn burn(seconds: f64) -> anyhow::Result<()> {
    let end = Instant::now() + Duration::try_from_secs_f64(seconds)?;
    let mut x = 1.0_f64;
    while Instant::now() < end {
        for _ in 0..100_000 {
            x = black_box(x * 1.000_000_1 + 1e-9);
        }
    }
    Ok(())
}

/// Starts other processes at random times until `stop`: bursts of 0.2 to 4 s by one process or two, as long
/// apart. They are held on the same cores as the caller.
pub(crate) fn disturb(seed: u64, stop: &AtomicBool) -> anyhow::Result<()> {
    let program = std::env::current_exe()?;
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut share = || f64::from(random.next_u32()) / f64::from(u32::MAX);
    while !stop.load(Ordering::Relaxed) {
        let (burst, count) = (0.2 + 3.8 * share(), if share() < 0.5 { 1 } else { 2 });
        let children: Vec<Child> = (0..count)
            .map(|_| {
                Command::new(&program)
                    .args(["burn", "--seconds", &format!("{burst:.3}")])
                    .stdin(Stdio::null())
                    .spawn()
            })
            .collect::<Result<_, _>>()?;
        for mut child in children {
            child.wait()?;
        }
        let rest = Instant::now() + Duration::try_from_secs_f64(0.2 + 3.8 * share())?;
        while Instant::now() < rest && !stop.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    Ok(())
}
