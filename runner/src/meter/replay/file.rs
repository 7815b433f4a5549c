//! The file of a recorded trace: one JSON object a line, `joulemark.trace.v1`.
//!
//! The first line is the [`Header`]; then one line of [`MeterFacts`] per meter; then readings
//! `{"t_ns", "meter", "v"}`, failed reads `{"t_ns", "meter", "error", "detail"}` and marks
//! `{"t_ns", "mark"}`, as they came. Written line by line, so that what is there can be read when
//! recording was cut off; a torn last line is dropped and said.
//!
//! Bounds: [`MAX_TRACE_BYTES`] a file, [`MAX_LINE_BYTES`] a line, [`MAX_METERS`] meters and
//! [`MAX_MARKS`] marks; a writer stops at the first and says so, a reader refuses what is beyond.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read as _, Write};
use std::path::{Path, PathBuf};

use domain::energy::keys::Seat;
use domain::record::{Averaging, Host, MeterKind, MeterTrace, UnavailableReason, UpdateBasis};
use domain::scope::Scope;
use domain::text::Name;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::meter::{MeterInfo, ReadError, Reading};

/// What the first line names.
pub const FORMAT: &str = "joulemark.trace.v1";

/// Longest trace: some hours of five meters.
pub const MAX_TRACE_BYTES: u64 = 128 << 20;

/// Longest line.
pub const MAX_LINE_BYTES: usize = 64 << 10;

/// Most meters of a trace.
pub const MAX_METERS: usize = 64;

/// Most marks of a trace.
pub const MAX_MARKS: usize = 10_000;

/// Why a trace cannot be read.
#[derive(Debug, Error)]
pub enum TraceError {
    /// The file.
    #[error("read the trace {file}: {source}")]
    File {
        /// The file.
        file: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Too long.
    #[error(
        "read the trace {file}: {bytes} bytes are more than {MAX_TRACE_BYTES}; record a shorter \
         time with --seconds"
    )]
    TooLong {
        /// The file.
        file: PathBuf,
        /// Its length.
        bytes: u64,
    },
    /// A line.
    #[error("read the trace {file}:{line}: {what}")]
    Line {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong, and what to do.
        what: String,
    },
}

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// [`FORMAT`].
    pub format: String,
    /// What wrote it.
    pub program: Name,
    /// Wall clock at time zero of the trace, a label.
    pub started_ms: u64,
    /// The machine; nothing in it names one single machine or its user.
    pub host: Host,
}

/// What a meter is, as a line of a trace and as an answer of `joulemark meter serve`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeterFacts {
    /// What its readings name.
    pub id: Name,
    /// Kind of source, such as `powercap`.
    pub meter: Name,
    /// Device, such as `package-0`.
    pub device: Name,
    /// What it covers.
    pub scope: Scope,
    /// What it reports.
    pub kind: MeterKind,
    /// How the device averages.
    pub averaging: Averaging,
    /// Averaging window.
    pub window_ns: Option<u64>,
    /// Update period.
    pub update_ns: Option<u64>,
    /// How that is known.
    pub update_basis: UpdateBasis,
    /// Value at which a counter wraps.
    pub wrap_uj: Option<u64>,
    /// Stated accuracy.
    pub sensor_ppm: Option<u32>,
    /// Where readings come from.
    pub origin: Name,
    /// Who may read it.
    pub privilege: Name,
}

impl MeterFacts {
    /// What tells which sums the meter may be part of, on a host.
    pub fn seat(&self, host: u32) -> Seat<'_> {
        Seat {
            host,
            meter: self.meter.as_str(),
            device: self.device.as_str(),
            scope: self.scope,
            kind: self.kind,
            used: true,
            update_ns: self.update_ns,
        }
    }

    /// The facts of several meters; an id that is taken gets a number.
    pub fn of<'a>(meters: impl IntoIterator<Item = &'a MeterInfo>) -> Vec<Self> {
        let mut facts: Vec<Self> = Vec::new();
        for info in meters {
            let kind = match info.kind {
                MeterKind::Counter => "counter",
                MeterKind::Power => "power",
                MeterKind::Model => "model",
            };
            let plain = format!("{} {} {kind}", info.meter, info.device);
            let same = facts.iter().filter(|other| {
                (&other.meter, &other.device, other.kind) == (&info.meter, &info.device, info.kind)
            });
            let id = match same.count() {
                0 => plain,
                n => format!("#{} {plain}", n + 1),
            };
            facts.push(Self {
                id: Name::cleaned(&id),
                meter: info.meter.clone(),
                device: info.device.clone(),
                scope: info.scope,
                kind: info.kind,
                averaging: info.averaging,
                window_ns: info.window_ns,
                update_ns: info.update_ns,
                update_basis: info.update_basis,
                wrap_uj: info.wrap_uj,
                sensor_ppm: info.sensor_ppm,
                origin: info.origin.clone(),
                privilege: Name::cleaned(info.privilege),
            });
        }
        facts
    }

    /// A trace of it without readings.
    pub fn trace(&self, host: u32) -> MeterTrace {
        MeterTrace {
            meter: self.meter.clone(),
            host,
            device: self.device.clone(),
            scope: self.scope,
            used: true,
            kind: self.kind,
            averaging: self.averaging,
            window_ns: self.window_ns,
            update_ns: self.update_ns,
            update_basis: self.update_basis,
            wrap_uj: self.wrap_uj,
            sensor_ppm: self.sensor_ppm,
            origin: self.origin.clone(),
            clock_error_ns: None,
            t_ns: Vec::new(),
            latency_ns: Vec::new(),
            source_t_ns: None,
            v: Vec::new(),
        }
    }
}

/// One reading, as a line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReadingLine {
    t_ns: u64,
    meter: Name,
    v: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    latency_ns: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source_t_ns: Option<u64>,
}

/// A read that failed, as a line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FailureLine {
    t_ns: u64,
    meter: Name,
    error: UnavailableReason,
    detail: Name,
}

/// A mark, as a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// When.
    pub t_ns: u64,
    /// What it marks.
    pub mark: Name,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// Writes a trace as it is read.
#[derive(Debug)]
pub struct Recorder {
    file: BufWriter<File>,
    written: u64,
}

impl Recorder {
    /// Begins a file. An existing one is not overwritten.
    pub fn create(path: &Path, header: &Header, meters: &[MeterFacts]) -> io::Result<Self> {
        let file = File::create_new(path)?;
        let mut recorder = Self {
            file: BufWriter::new(file),
            written: 0,
        };
        recorder.line(header)?;
        for facts in meters {
            recorder.line(facts)?;
        }
        recorder.flush()?;
        Ok(recorder)
    }

    /// Adds a reading. False once the file is full.
    pub fn reading(&mut self, meter: &MeterFacts, reading: &Stamped) -> io::Result<bool> {
        self.line(&ReadingLine {
            t_ns: reading.t_ns,
            meter: meter.id.clone(),
            v: reading.value,
            latency_ns: reading.latency_ns,
            source_t_ns: reading.source_ns,
        })
    }

    /// Adds a failed read. False once the file is full.
    pub fn failure(
        &mut self,
        meter: &MeterFacts,
        t_ns: u64,
        error: &ReadError,
    ) -> io::Result<bool> {
        self.line(&FailureLine {
            t_ns,
            meter: meter.id.clone(),
            error: error.reason(),
            detail: Name::cleaned(&format!("failed to {error}")),
        })
    }

    /// Adds a mark. False once the file is full.
    pub fn mark(&mut self, mark: &Mark) -> io::Result<bool> {
        self.line(mark)
    }

    /// Hands everything to the system, so that a reader finds it.
    pub fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }

    fn line(&mut self, line: &impl Serialize) -> io::Result<bool> {
        let mut bytes = serde_json::to_vec(line)?;
        bytes.push(b'\n');
        if self.written + bytes.len() as u64 > MAX_TRACE_BYTES {
            return Ok(false);
        }
        self.written += bytes.len() as u64;
        self.file.write_all(&bytes)?;
        Ok(true)
    }
}

/// A reading on the clock of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamped {
    /// Middle of the read, or of the time in which the value changed.
    pub t_ns: u64,
    /// Length of either.
    pub latency_ns: u64,
    /// The device's own stamp.
    pub source_ns: Option<u64>,
    /// Micro-joules of a counter, micro-watts otherwise.
    pub value: u64,
}

impl Stamped {
    /// A reading on a clock whose zero is `zero_ns`.
    pub fn of(reading: &Reading, zero_ns: u64) -> Self {
        let middle = reading.before_ns + reading.after_ns.saturating_sub(reading.before_ns) / 2;
        Self {
            t_ns: middle.saturating_sub(zero_ns),
            latency_ns: reading.after_ns.saturating_sub(reading.before_ns),
            source_ns: reading.source_ns.map(|at| at.saturating_sub(zero_ns)),
            value: reading.value,
        }
    }
}

/// A trace file, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    /// Its first line.
    pub header: Header,
    /// Its meters, in the order of the file.
    pub meters: Vec<RecordedMeter>,
    /// Its marks.
    pub marks: Vec<Mark>,
    /// The last line, which was cut off and dropped.
    pub torn: Option<usize>,
}

/// One meter of a trace file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedMeter {
    /// What it is.
    pub facts: MeterFacts,
    /// Its readings.
    pub trace: MeterTrace,
    /// Its failed reads: when and why.
    pub failures: Vec<(u64, UnavailableReason)>,
}

impl Recording {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, TraceError> {
        let fault = |source| TraceError::File {
            file: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(fault)?;
        let bytes = file.metadata().map_err(fault)?.len();
        if bytes > MAX_TRACE_BYTES {
            return Err(TraceError::TooLong {
                file: path.to_owned(),
                bytes,
            });
        }
        Self::parse(path, BufReader::new(file.take(MAX_TRACE_BYTES)))
    }

    /// Reads the lines of `path`.
    fn parse(path: &Path, mut lines: impl BufRead) -> Result<Self, TraceError> {
        let mut parser = Parser::default();
        let mut line = Vec::new();
        let mut number = 0;
        let mut torn = None;
        loop {
            line.clear();
            let mut bounded = (&mut lines).take(MAX_LINE_BYTES as u64 + 1);
            let read = bounded
                .read_until(b'\n', &mut line)
                .map_err(|source| TraceError::File {
                    file: path.to_owned(),
                    source,
                })?;
            if read == 0 {
                break;
            }
            number += 1;
            let whole = line.ends_with(b"\n");
            let taken = if line.len() > MAX_LINE_BYTES {
                Err(format!("the line is longer than {MAX_LINE_BYTES} bytes"))
            } else {
                parser.take(&line)
            };
            match taken {
                Ok(()) => {}
                Err(_) if !whole && line.len() <= MAX_LINE_BYTES && parser.header.is_some() => {
                    torn = Some(number);
                }
                Err(what) => {
                    return Err(TraceError::Line {
                        file: path.to_owned(),
                        line: number,
                        what,
                    });
                }
            }
        }
        let Some(header) = parser.header else {
            return Err(TraceError::Line {
                file: path.to_owned(),
                line: 1,
                what: NO_HEADER.to_owned(),
            });
        };
        Ok(Self {
            header,
            meters: parser.meters,
            marks: parser.marks,
            torn,
        })
    }
}

const NO_HEADER: &str = "the first line of a trace is {\"format\": \"joulemark.trace.v1\", …}; \
    record one with `joulemark meter watch --record FILE`";

/// What has been read so far.
#[derive(Default)]
struct Parser {
    header: Option<Header>,
    meters: Vec<RecordedMeter>,
    ids: BTreeMap<Name, usize>,
    marks: Vec<Mark>,
}

impl Parser {
    /// Takes one line; the error says what is wrong with it and what to do.
    fn take(&mut self, line: &[u8]) -> Result<(), String> {
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        let value: Value = serde_json::from_slice(line)
            .map_err(|error| format!("it is not JSON ({error}); take the line out"))?;
        let Some(host) = self.header.as_ref().map(|header| header.host.host) else {
            let header: Header = typed(value).map_err(|what| format!("{what}; {NO_HEADER}"))?;
            if header.format != FORMAT {
                let said = Name::cleaned(&header.format);
                return Err(format!(
                    "the format is {said:?}, this program reads {FORMAT:?}"
                ));
            }
            self.header = Some(header);
            return Ok(());
        };
        let has = |key: &str| value.get(key).is_some();
        if has("id") {
            self.meter(typed(value)?, host)
        } else if has("mark") {
            if self.marks.len() == MAX_MARKS {
                return Err(format!("more than {MAX_MARKS} marks; take some out"));
            }
            self.marks.push(typed(value)?);
            Ok(())
        } else if has("error") {
            let FailureLine {
                t_ns, meter, error, ..
            } = typed(value)?;
            self.named(&meter)?.failures.push((t_ns, error));
            Ok(())
        } else if has("v") {
            let reading: ReadingLine = typed(value)?;
            self.named(&reading.meter)?.push(&reading)
        } else {
            Err(
                "it is no meter (id), reading (v), failed read (error) or mark (mark); \
                 take the line out"
                    .to_owned(),
            )
        }
    }

    fn meter(&mut self, facts: MeterFacts, host: u32) -> Result<(), String> {
        if self.meters.len() == MAX_METERS {
            return Err(format!("more than {MAX_METERS} meters; take some out"));
        }
        if self
            .ids
            .insert(facts.id.clone(), self.meters.len())
            .is_some()
        {
            return Err(format!(
                "the meter {} is there twice; give each its own id",
                facts.id
            ));
        }
        self.meters.push(RecordedMeter {
            trace: facts.trace(host),
            facts,
            failures: Vec::new(),
        });
        Ok(())
    }

    fn named(&mut self, id: &Name) -> Result<&mut RecordedMeter, String> {
        let index = self.ids.get(id).ok_or_else(|| {
            format!("no line before it describes the meter {id}; correct \"meter\"")
        })?;
        Ok(&mut self.meters[*index])
    }
}

impl RecordedMeter {
    fn push(&mut self, line: &ReadingLine) -> Result<(), String> {
        let trace = &mut self.trace;
        if trace.t_ns.last().is_some_and(|last| *last > line.t_ns) {
            return Err(format!(
                "t_ns is before the reading above it of {}; sort the lines by t_ns",
                self.facts.id
            ));
        }
        let stamped = trace.source_t_ns.is_some();
        if !trace.v.is_empty() && stamped != line.source_t_ns.is_some() {
            return Err(format!(
                "either every reading of {} has source_t_ns or none",
                self.facts.id
            ));
        }
        if let Some(at) = line.source_t_ns {
            trace.source_t_ns.get_or_insert_default().push(at);
        }
        trace.t_ns.push(line.t_ns);
        trace.latency_ns.push(line.latency_ns);
        trace.v.push(line.v);
        Ok(())
    }
}

fn typed<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    serde_json::from_value(value).map_err(|error| error.to_string())
}

#[cfg(test)]
pub(in crate::meter) mod tests {
    use super::*;
    use crate::meter::Reach;

    pub(crate) fn info(device: &str, kind: MeterKind) -> MeterInfo {
        MeterInfo {
            meter: Name::cleaned("scripted"),
            device: Name::cleaned(device),
            scope: Scope::CpuPkg,
            kind,
            averaging: Averaging::Instant,
            window_ns: None,
            update_ns: Some(100_000_000),
            update_basis: UpdateBasis::Assumed,
            wrap_uj: None,
            sensor_ppm: None,
            origin: Name::cleaned("scripted"),
            privilege: "none",
            reach: Reach::Local,
        }
    }

    pub(crate) fn header() -> Header {
        Header {
            format: FORMAT.to_owned(),
            program: Name::cleaned("joulemark test"),
            started_ms: 0,
            host: crate::host::survey(Path::new("/")).host,
        }
    }

    fn recorded(folder: &Path) -> PathBuf {
        let path = folder.join("a.jsonl");
        let facts = MeterFacts::of(&[
            info("p", MeterKind::Counter),
            info("p", MeterKind::Power),
            info("p", MeterKind::Power),
        ]);
        let mut recorder = Recorder::create(&path, &header(), &facts).expect("writable");
        for n in 0..5 {
            let stamped = Stamped {
                t_ns: n * 1_000,
                latency_ns: 3,
                source_ns: None,
                value: n,
            };
            assert!(recorder.reading(&facts[0], &stamped).expect("writable"));
        }
        recorder
            .failure(&facts[1], 7, &ReadError::Stale)
            .expect("writable");
        recorder
            .mark(&Mark {
                t_ns: 9,
                mark: Name::cleaned("load"),
            })
            .expect("writable");
        recorder.flush().expect("writable");
        path
    }

    #[test]
    fn what_is_recorded_is_read_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = recorded(folder.path());
        let recording = Recording::read(&path).expect("a trace");
        assert_eq!(recording.header, header());
        let ids: Vec<_> = recording
            .meters
            .iter()
            .map(|m| m.facts.id.as_str())
            .collect();
        assert_eq!(
            ids,
            [
                "scripted p counter",
                "scripted p power",
                "#2 scripted p power"
            ]
        );
        let first = &recording.meters[0].trace;
        assert_eq!(first.t_ns, [0, 1_000, 2_000, 3_000, 4_000]);
        assert_eq!(
            (&first.v, &first.latency_ns),
            (&vec![0, 1, 2, 3, 4], &vec![3; 5])
        );
        assert_eq!(first.source_t_ns, None);
        assert_eq!(
            recording.meters[1].failures,
            [(7, UnavailableReason::Stale)]
        );
        assert_eq!(recording.marks[0].mark.as_str(), "load");
        assert_eq!(recording.torn, None);
        let again = Recorder::create(&path, &header(), &[]);
        assert!(again.is_err(), "a recording is not overwritten");
    }

    #[test]
    fn a_file_cut_off_anywhere_behind_its_header_is_read_up_to_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let bytes = std::fs::read(recorded(folder.path())).expect("just written");
        let header_end = bytes.iter().position(|b| *b == b'\n').expect("lines") + 1;
        let mut torn = 0;
        for end in header_end..bytes.len() {
            let recording = Recording::parse(Path::new("cut.jsonl"), &bytes[..end])
                .unwrap_or_else(|error| panic!("cut at {end}: {error}"));
            torn += u32::from(recording.torn.is_some());
        }
        assert!(torn > 0, "a cut within a line is said");
        for end in 0..header_end - 1 {
            assert!(Recording::parse(Path::new("cut.jsonl"), &bytes[..end]).is_err());
        }
    }

    #[test]
    fn a_wrong_line_is_named_with_what_to_do() {
        let head = serde_json::to_string(&header()).expect("JSON");
        let facts = &MeterFacts::of(&[info("p", MeterKind::Counter)])[0];
        let meter = serde_json::to_string(facts).expect("JSON");
        let good = r#"{"t_ns":5,"meter":"scripted p counter","v":1}"#;
        let cases = [
            (vec![meter.as_str()], 1, "watch --record"),
            (vec![&head, "{\"a\":1}"], 2, "take the line out"),
            (vec![&head, "}{"], 2, "take the line out"),
            (vec![&head, &meter, &meter], 3, "its own id"),
            (vec![&head, good], 2, "correct \"meter\""),
            (
                vec![
                    &head,
                    &meter,
                    good,
                    r#"{"t_ns":4,"meter":"scripted p counter","v":1}"#,
                ],
                4,
                "sort the lines",
            ),
            (
                vec![
                    &head,
                    &meter,
                    r#"{"t_ns":5,"meter":"scripted p counter","v":-1}"#,
                ],
                3,
                "-1",
            ),
            (
                vec![
                    &head,
                    &meter,
                    good,
                    r#"{"t_ns":6,"meter":"scripted p counter","v":1,"source_t_ns":2}"#,
                ],
                4,
                "or none",
            ),
        ];
        for (lines, number, what) in cases {
            let text = lines.join("\n") + "\n";
            let error = Recording::parse(Path::new("t.jsonl"), text.as_bytes())
                .expect_err(what)
                .to_string();
            assert!(error.contains(&format!("t.jsonl:{number}: ")), "{error}");
            assert!(error.contains(what), "{error}");
        }
    }
}
