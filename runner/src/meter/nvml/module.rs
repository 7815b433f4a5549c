//! Power of a whole Grace Hopper module, which the safe wrapper has no way to ask for: NVML tells
//! GPU and module apart by a scope beside the field's number, and the wrapper always sends the
//! GPU's.

use nvml_wrapper::Device;
use nvml_wrapper::error::{NvmlError, nvml_sym, nvml_try};
use nvml_wrapper::struct_wrappers::device::FieldValueSample;
use nvml_wrapper::sys_exports::field_id::NVML_FI_DEV_POWER_INSTANT;
use nvml_wrapper_sys::bindings::{NVML_POWER_SCOPE_MODULE, nvmlFieldValue_t, nvmlValue_t};

/// The module's power, as the driver answers.
#[expect(
    unsafe_code,
    reason = "the wrapper cannot send a power scope with a field"
)]
pub(super) fn module_power(device: &Device<'static>) -> Result<FieldValueSample, NvmlError> {
    let ask = nvml_sym(device.nvml().lib().nvmlDeviceGetFieldValues.as_ref())?;
    let mut field = nvmlFieldValue_t {
        fieldId: NVML_FI_DEV_POWER_INSTANT,
        scopeId: NVML_POWER_SCOPE_MODULE,
        timestamp: 0,
        latencyUsec: 0,
        valueType: 0,
        nvmlReturn: 0,
        value: nvmlValue_t { ullVal: 0 },
    };
    // SAFETY: the handle is used while its library is open, which it is until the program ends,
    // and NVML writes no more than the one element that it is told of.
    nvml_try(unsafe { ask(device.handle(), 1, &raw mut field) })?;
    FieldValueSample::try_from(field)
}
