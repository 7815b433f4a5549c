//! Engines that only time themselves: there is nothing to stamp, their own clock is recorded.

use domain::record::{Finish, Outcome, PhaseKind, Repetition, Request, TokenSource};
use domain::speeds::engine_decode_tokens_per_second;

use super::{
    Bench, Counts, Fault, Progress, Samples, Stopped, Timing, Voids, Watch, counted, deadline,
    is_narrow, void_reason, watched,
};
use crate::engine::{SelfTimed, SelfTiming};

/// Lets the engine time itself, so many repetitions a call, until its speed is known well enough.
///
/// The program warms itself up in every call. It does not say when a repetition ran: the calls'
/// time is shared out evenly as the repetitions' spans, and a phase covers a whole call.
pub(super) fn time_itself(
    bench: &mut Bench,
    timing: Timing,
    samples: &mut Samples,
) -> Result<(), Stopped> {
    let settings = timing.settings;
    let began_ns = bench.clock.now_ns();
    let limit_ns = settings.minutes_per_cell * 60e9;
    let mut voids = Voids::default();
    bench.note_context(samples);
    loop {
        bench.check_stop()?;
        let done = samples.repetitions.len() as u32;
        let asked = settings.min.min(settings.max - done);
        let mut fault = None;
        let spent_ns = bench.clock.now_ns().saturating_sub(began_ns) as f64;
        let left_seconds = (limit_ns - spent_ns).max(0.0) / 1e9;
        let called = bench.phase(samples, PhaseKind::MixedLoop, None, |bench, samples| {
            let (counts, spoiled) = call(bench, timing, samples, asked, left_seconds)?;
            fault = spoiled;
            Ok(counts)
        });
        match called {
            // What earlier calls measured stands.
            Err(Stopped::Failed {
                outcome: Outcome::Timeout,
                ..
            }) if counted(&samples.repetitions).next().is_some() => break,
            called => called?,
        }
        let latest = samples.repetitions.last();
        (bench.on_progress)(Progress {
            phase: PhaseKind::MixedLoop,
            done: done + asked,
            of: settings.max,
            tokens_per_second: latest.and_then(engine_decode_tokens_per_second),
            seconds_left: None,
        });
        voids.after(latest, fault)?;
        let late = bench.clock.now_ns().saturating_sub(began_ns) as f64 >= limit_ns;
        let whole = samples.repetitions.len() as u32 >= settings.max;
        let enough = counted(&samples.repetitions).count() >= settings.min as usize;
        let narrow = is_narrow(
            &samples.repetitions,
            &watched(timing.workload, false),
            settings.target_half_width_percent,
        );
        if late || whole || (enough && narrow) {
            break;
        }
    }
    bench.note_context(samples);
    Ok(())
}

/// One call of so many repetitions, within the time that is left.
fn call(
    bench: &mut Bench,
    timing: Timing,
    samples: &mut Samples,
    repetitions: u32,
    left_seconds: f64,
) -> Result<(Counts, Option<Fault>), Stopped> {
    let workload = timing.workload;
    let asked = SelfTimed {
        prompt_tokens: workload.prompt_tokens,
        output_tokens: workload.output_tokens,
        depth_tokens: workload.depth_tokens,
        repetitions,
        deadline: deadline(left_seconds),
    };
    let watch = Watch::begin(bench);
    let start_ns = bench.now(samples);
    let timings = bench.engine.time_itself(&asked)?;
    let end_ns = bench.now(samples);
    if timings.len() != repetitions as usize {
        let count = timings.len();
        let class = format!("{count} repetitions came back, {repetitions} were asked for");
        return Err(Stopped::failed(Outcome::Crash, class));
    }
    let (peak_bytes, paged_bytes, trouble) = watch.end(bench, end_ns - start_ns);
    let source = bench.engine.capabilities().token_source;
    let mut counts = Counts::default();
    let share_ns = |n: u64| start_ns + (end_ns - start_ns) * n / u64::from(repetitions);
    for (n, timing) in (0..).zip(timings) {
        let requests = requests(&asked, timing, source, share_ns(n));
        for request in &requests {
            counts.add(request.prompt_tokens, request.output_tokens);
        }
        samples.repetitions.push(Repetition {
            rep: samples.repetitions.len() as u32,
            warmup: false,
            void: trouble.as_ref().map(void_reason),
            start_ns: share_ns(n),
            end_ns: share_ns(n + 1),
            peak_bytes,
            paged_bytes,
            requests: requests.into(),
            transcript_sha256: None,
        });
    }
    Ok((counts, trouble))
}

/// A repetition as two requests of one phase each: its prefill, and its decode.
fn requests(
    asked: &SelfTimed,
    timing: SelfTiming,
    token_source: TokenSource,
    sent_ns: u64,
) -> [Request; 2] {
    let prefill = Request {
        stream: 0,
        sent_ns,
        first_visible_ns: None,
        first_event_ns: None,
        gaps_us: Vec::new(),
        event_tokens: None,
        prompt_tokens: asked.prompt_tokens,
        cached_tokens: None,
        output_tokens: 0,
        reasoning_tokens: 0,
        passes: None,
        accepted_tokens: None,
        token_source,
        finish: Finish::Length,
        engine_prefill_ns: Some(timing.prefill_ns),
        engine_decode_ns: None,
    };
    let decode = Request {
        prompt_tokens: 0,
        output_tokens: asked.output_tokens,
        engine_prefill_ns: None,
        engine_decode_ns: Some(timing.decode_ns),
        ..prefill.clone()
    };
    [prefill, decode]
}
