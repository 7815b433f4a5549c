//! The layout guard: is it the change, or only where the linker put things?
//!
//! On a confirmed regression the base is linked again in another order and gated against itself.
//! The build overwrites the base's program, which therefore stands aside meanwhile and is put back
//! whatever happens; the shuffled program is kept in the gate's folder.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use domain::gate::record::StageKind;
use domain::gate::stage_seed;
use domain::ids::Sha256Digest;
use domain::text::Name;

use super::blocks::{Gate, Going, Turns};
use super::{GateEvent, LayoutBuild};
use crate::gate::arm::ArmSpec;

/// Blocks of the base against its shuffled self.
pub(super) const LAYOUT_BLOCKS: u32 = 16;

impl Gate<'_> {
    /// Sixteen blocks of the base against its shuffled self, where something regressed for certain
    /// and the arms are different programs.
    pub(super) fn layout(&mut self) -> Going {
        let options = self.options;
        let kind = StageKind::Layout;
        let programs = (
            self.record.base.binary_sha256,
            self.record.candidate.binary_sha256,
        );
        let Some(layout) = &options.layout else {
            return Ok(ControlFlow::Continue(()));
        };
        if programs.0 == programs.1 || self.needing(kind)?.is_empty() {
            return Ok(ControlFlow::Continue(()));
        }
        self.begin(kind)?;
        let note = "linking the base in another order, to see what layout alone does";
        (self.on_event)(GateEvent::Note(note.to_owned()));
        match self.shuffled(layout) {
            Ok((shuffled, digest)) => {
                self.stage_of(kind).binary_sha256 = Some(digest);
                self.stage(Turns {
                    kind,
                    base: &options.base,
                    candidate: &shuffled,
                    blocks: LAYOUT_BLOCKS,
                })
            }
            Err(_) if options.stop.load(Ordering::Relaxed) => {
                self.record.interrupted = true;
                Ok(ControlFlow::Break(()))
            }
            Err(why) => {
                let note = format!("whether layout alone does it is not known: {why}");
                (self.on_event)(GateEvent::Note(note));
                self.stage_of(kind).unavailable = Some(Name::cleaned(&why));
                let stage = self.stage_of(kind).clone();
                self.keep.stage(&stage)?;
                Ok(ControlFlow::Continue(()))
            }
        }
    }

    /// The base with its program linked in another order, and that program's digest; or why not.
    fn shuffled(&mut self, layout: &LayoutBuild) -> Result<(ArmSpec, Sha256Digest), String> {
        let base = &self.options.base;
        let built = layout.folder.join(&layout.program);
        let program = base.program().map_err(|error| error.to_string())?;
        let real = |path: &Path| fs::canonicalize(path).ok();
        if real(&program) != real(&built) || base.words.is_empty() {
            return Err("the base does not run the program that is linked again".to_owned());
        }
        let aside = self.keep.folder().join("base");
        let shuffled = self.keep.folder().join("base-shuffled");
        copy(&built, &aside)?;
        let seed = stage_seed(&self.record.seed.0, StageKind::Layout);
        let seed = u32::from_be_bytes([seed[0], seed[1], seed[2], seed[3]]);
        let commands: Vec<String> = (layout.commands.iter())
            .map(|command| command.replace("{seed}", &seed.to_string()))
            .collect();
        let on_event = &mut *self.on_event;
        let mut tell = |line: &str| on_event(GateEvent::Note(line.to_owned()));
        let made = (self.hands.build)(&commands, &layout.folder, &self.options.stop, &mut tell)
            .and_then(|()| copy(&built, &shuffled));
        // Also after a failure: the next slot of the base runs it.
        let restored = copy(&aside, &built);
        made.and(restored)?;
        let digest = |path: &PathBuf| fs::read(path).map(|bytes| Sha256Digest::of(&bytes));
        let unread = |error| format!("the linked program cannot be read: {error}");
        let (before, after) = (
            digest(&aside).map_err(unread)?,
            digest(&shuffled).map_err(unread)?,
        );
        if before == after {
            return Err("linking it again made the very same program".to_owned());
        }
        let mut arm = base.clone();
        let path = std::path::absolute(&shuffled).map_err(unread)?;
        arm.words[0] = path.to_string_lossy().into_owned();
        arm.label = format!("{} linked in another order", base.label);
        Ok((arm, after))
    }
}

/// Copies a program over another path: a new file, since a program that runs cannot be written to.
fn copy(from: &Path, to: &Path) -> Result<(), String> {
    let name = to.file_name().unwrap_or_default().to_string_lossy();
    let next = to.with_file_name(format!("{name}.next"));
    fs::copy(from, &next)
        .and_then(|_| fs::rename(&next, to))
        .map_err(|error| format!("the base's program cannot be put aside: {error}"))
}
