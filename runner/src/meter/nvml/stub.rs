//! A library that speaks as NVML does and answers from a text file: compiled and loaded by the
//! tests, part of no program.
//!
//! The answers stand in the file beside the library, named as it with `.txt` added, and are read
//! anew at every call, so that a test moves time by writing the file. A line is `KEY VALUE`; keys
//! of a device begin with its number. What the file does not name is not supported; `!15` fails
//! with code 15. Built with `--cfg bare` it lacks every function but those that find a device.

use std::ffi::{CStr, c_char, c_int, c_uint, c_ulonglong, c_void};
use std::path::PathBuf;

type Code = c_uint;

const SUCCESS: Code = 0;
const INVALID_ARGUMENT: Code = 2;
const NOT_SUPPORTED: Code = 3;
const INSUFFICIENT_SIZE: Code = 7;

/// What a handle points at is its number, one higher so that it is not null.
type Device = *mut c_void;

#[repr(C)]
struct DlInfo {
    file: *const c_char,
    base: *mut c_void,
    name: *const c_char,
    address: *mut c_void,
}

unsafe extern "C" {
    fn dladdr(address: *const c_void, info: *mut DlInfo) -> c_int;
}

/// Each copy of the library has its own answers.
fn answers() -> PathBuf {
    let mut info = DlInfo {
        file: std::ptr::null(),
        base: std::ptr::null_mut(),
        name: std::ptr::null(),
        address: std::ptr::null_mut(),
    };
    let here = answers as fn() -> PathBuf as *const c_void;
    // SAFETY: `here` lies in this library, and `dladdr` fills the structure that it is given.
    let found = unsafe { dladdr(here, &raw mut info) };
    assert!(found != 0, "a loaded library has a file");
    // SAFETY: after success the name is a C string that lives as long as the library.
    let file = unsafe { CStr::from_ptr(info.file) };
    PathBuf::from(format!("{}.txt", file.to_str().expect("a path in UTF-8")))
}

fn text(key: &str) -> Result<String, Code> {
    let all = std::fs::read_to_string(answers()).expect("the answers are there");
    let value = all
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))
        .ok_or(NOT_SUPPORTED)?
        .trim();
    match value.strip_prefix('!') {
        Some(code) => Err(code.parse().expect("a code")),
        None => Ok(value.to_owned()),
    }
}

fn of(device: Device, key: &str) -> Result<String, Code> {
    text(&format!("{}.{key}", device as usize - 1))
}

/// Hands a number over.
fn put<T: std::str::FromStr>(value: Result<String, Code>, to: *mut T) -> Code {
    match value {
        Ok(text) => {
            let value = text
                .parse()
                .unwrap_or_else(|_| panic!("{text} is no number"));
            // SAFETY: the caller owns what it points at, as NVML asks.
            unsafe { to.write(value) };
            SUCCESS
        }
        Err(code) => code,
    }
}

/// Hands a text over.
fn put_text(value: Result<String, Code>, to: *mut c_char, length: c_uint) -> Code {
    match value {
        Ok(text) if text.len() < length as usize => {
            for (at, byte) in text.bytes().chain([0]).enumerate() {
                // SAFETY: the text and its zero fit into the caller's `length` bytes.
                unsafe { to.add(at).write(byte as c_char) };
            }
            SUCCESS
        }
        Ok(_) => INSUFFICIENT_SIZE,
        Err(code) => code,
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlInit_v2() -> Code {
    match text("init") {
        Ok(_) => SUCCESS,
        Err(code) => code,
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlSystemGetDriverVersion(to: *mut c_char, length: c_uint) -> Code {
    put_text(text("driver"), to, length)
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetCount_v2(to: *mut c_uint) -> Code {
    put(text("count"), to)
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetHandleByIndex_v2(index: c_uint, to: *mut Device) -> Code {
    // SAFETY: the caller owns what it points at.
    unsafe { to.write((index as usize + 1) as Device) };
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetUUID(device: Device, to: *mut c_char, length: c_uint) -> Code {
    put_text(of(device, "uuid"), to, length)
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetName(device: Device, to: *mut c_char, length: c_uint) -> Code {
    put_text(of(device, "name"), to, length)
}

#[cfg(not(bare))]
mod whole {
    use super::*;

    #[repr(C)]
    pub struct Memory {
        version: c_uint,
        total: c_ulonglong,
        reserved: c_ulonglong,
        free: c_ulonglong,
        used: c_ulonglong,
    }

    #[repr(C)]
    pub struct Field {
        id: c_uint,
        scope: c_uint,
        timestamp: i64,
        latency: i64,
        kind: c_uint,
        code: Code,
        value: u64,
    }

    #[repr(C)]
    pub struct Sample {
        timestamp: c_ulonglong,
        value: u64,
    }

    #[repr(C)]
    pub struct Process {
        pid: c_uint,
        memory: c_ulonglong,
        gpu_instance: c_uint,
        compute_instance: c_uint,
    }

    #[repr(C)]
    pub struct Violation {
        reference: c_ulonglong,
        time: c_ulonglong,
    }

    const UNSIGNED_INT: c_uint = 1;

    #[unsafe(no_mangle)]
    pub extern "C" fn nvmlDeviceGetTotalEnergyConsumption(
        device: Device,
        to: *mut c_ulonglong,
    ) -> Code {
        put(of(device, "energy_mj"), to)
    }

    #[unsafe(no_mangle)]
    pub extern "C" fn nvmlDeviceGetPowerUsage(device: Device, to: *mut c_uint) -> Code {
        put(of(device, "usage_mw"), to)
    }

    #[unsafe(no_mangle)]
    pub extern "C" fn nvmlDeviceGetEnforcedPowerLimit(device: Device, to: *mut c_uint) -> Code {
        put(of(device, "limit_mw"), to)
    }

    #[unsafe(no_mangle)]
    pub extern "C" fn nvmlDeviceGetTemperature(
        device: Device,
        _sensor: c_uint,
        to: *mut c_uint,
    ) -> Code {
        put(of(device, "celsius"), to)
    }

    #[unsafe(no_mangle)]
    pub extern "C" fn nvmlDeviceGetClockInfo(
        device: Device,
        _clock: c_uint,
        to: *mut c_uint,
    ) -> Code {
        put(of(device, "clock_mhz"), to)
    }

    #[unsafe(no_mangle)]
    pub extern "C" fn nvmlDeviceGetPerformanceState(device: Device, to: *mut c_uint) -> Code {
        put(of(device, "pstate"), to)
    }

    #[unsafe(no_mangle)]
    pub extern "C" fn nvmlDeviceGetCurrentClocksThrottleReasons(
        device: Device,
        to: *mut c_ulonglong,
    ) -> Code {
        put(of(device, "reasons"), to)
    }

    #[unsafe(no_mangle)]
    pub extern "C" fn nvmlDeviceGetVirtualizationMode(device: Device, to: *mut c_uint) -> Code {
        put(of(device, "virtualization"), to)
    }

    #[unsafe(no_mangle)]
    pub extern "C" fn nvmlDeviceGetVbiosVersion(
        device: Device,
        to: *mut c_char,
        length: c_uint,
    ) -> Code {
        put_text(of(device, "vbios"), to, length)
    }

    #[unsafe(no_mangle)]
    pub extern "C" fn nvmlDeviceGetMigMode(
        device: Device,
        current: *mut c_uint,
        pending: *mut c_uint,
    ) -> Code {
        match put(of(device, "mig"), current) {
            SUCCESS => put(of(device, "mig"), pending),
            code => code,
        }
    }

    #[unsafe(no_mangle)]
    pub extern "C" fn nvmlDeviceGetCudaComputeCapability(
        device: Device,
        major: *mut c_int,
        minor: *mut c_int,
    ) -> Code {
        let part = |at: usize| {
            let chip = of(device, "chip")?;
            Ok(chip.split('.').nth(at).expect("MAJOR.MINOR").to_owned())
        };
        match put(part(0), major) {
            SUCCESS => put(part(1), minor),
            code => code,
        }
    }

    #[unsafe(no_mangle)]
    pub extern "C" fn nvmlDeviceGetMemoryInfo_v2(device: Device, to: *mut Memory) -> Code {
        // SAFETY: the caller's structure, whose version says that it is of this layout.
        put(of(device, "memory_bytes"), unsafe { &raw mut (*to).total })
    }

    #[unsafe(no_mangle)]
    pub extern "C" fn nvmlDeviceGetViolationStatus(
        device: Device,
        policy: c_uint,
        to: *mut Violation,
    ) -> Code {
        // SAFETY: the caller's structure.
        put(of(device, &format!("violation{policy}_ns")), unsafe {
            &raw mut (*to).time
        })
    }

    /// Field 186 is `instant_mw`, of the module `module_mw`, its stamp `stamp_us`.
    #[unsafe(no_mangle)]
    pub extern "C" fn nvmlDeviceGetFieldValues(
        device: Device,
        count: c_int,
        fields: *mut Field,
    ) -> Code {
        for at in 0..count as usize {
            // SAFETY: the caller's `count` elements.
            let field = unsafe { &mut *fields.add(at) };
            let value = match (field.id, field.scope) {
                (186, 0) => of(device, "instant_mw"),
                (186, 1) => of(device, "module_mw"),
                _ => Err(NOT_SUPPORTED),
            };
            field.kind = UNSIGNED_INT;
            field.code = put(value, &raw mut field.value);
            put(of(device, "stamp_us"), &raw mut field.timestamp);
        }
        SUCCESS
    }

    /// `samples` is a list of `STAMP_US:MILLIWATTS`, oldest first.
    #[unsafe(no_mangle)]
    pub extern "C" fn nvmlDeviceGetSamples(
        device: Device,
        kind: c_uint,
        _last_seen: c_ulonglong,
        value_kind: *mut c_uint,
        count: *mut c_uint,
        samples: *mut Sample,
    ) -> Code {
        if kind != 0 {
            return INVALID_ARGUMENT;
        }
        let list = match of(device, "samples") {
            Ok(list) => list,
            Err(code) => return code,
        };
        let list: Vec<(u64, u64)> = list
            .split_whitespace()
            .map(|sample| {
                let (stamp, value) = sample.split_once(':').expect("STAMP:VALUE");
                (
                    stamp.parse().expect("a stamp"),
                    value.parse().expect("a value"),
                )
            })
            .collect();
        // SAFETY: the caller's numbers, and room for as many samples as it was told.
        unsafe {
            value_kind.write(UNSIGNED_INT);
            count.write(list.len() as c_uint);
            if !samples.is_null() {
                for (at, (timestamp, value)) in list.into_iter().enumerate() {
                    samples.add(at).write(Sample { timestamp, value });
                }
            }
        }
        SUCCESS
    }

    #[unsafe(no_mangle)]
    pub extern "C" fn nvmlDeviceGetComputeRunningProcesses_v3(
        device: Device,
        count: *mut c_uint,
        processes: *mut Process,
    ) -> Code {
        let list = match of(device, "pids") {
            Ok(list) => list,
            Err(code) => return code,
        };
        let list: Vec<c_uint> = list
            .split_whitespace()
            .map(|pid| pid.parse().expect("a number"))
            .collect();
        // SAFETY: the caller's count, and room for as many processes as that says.
        unsafe {
            let room = count.read() as usize;
            count.write(list.len() as c_uint);
            if list.len() > room {
                return INSUFFICIENT_SIZE;
            }
            for (at, pid) in list.into_iter().enumerate() {
                processes.add(at).write(Process {
                    pid,
                    memory: 0,
                    gpu_instance: c_uint::MAX,
                    compute_instance: c_uint::MAX,
                });
            }
        }
        SUCCESS
    }
}
