//! Where a run happens, and on how many threads.

use std::str::FromStr;

use candle_core::Device;

use crate::diagnostic::{Diagnostic, codes};

/// `--device`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The first GPU if this build and this machine have one, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The GPU of that number.
    Cuda(usize),
}

impl FromStr for DeviceChoice {
    type Err = Diagnostic;

    fn from_str(text: &str) -> Result<Self, Diagnostic> {
        match text.split_once(':') {
            None if text == "auto" => return Ok(DeviceChoice::Auto),
            None if text == "cpu" => return Ok(DeviceChoice::Cpu),
            None if text == "cuda" => return Ok(DeviceChoice::Cuda(0)),
            Some(("cuda", number)) => {
                if let Ok(number) = number.parse() {
                    return Ok(DeviceChoice::Cuda(number));
                }
            }
            _ => {}
        }
        Err(Diagnostic::error(codes::BAD_FLAG, format!("`{text}` is not a device"))
            .help("give `auto`, `cpu`, `cuda` or `cuda:1`"))
    }
}

/// Opens the device. `auto` never fails: it takes the CPU where there is no usable GPU.
///
/// # Errors
/// [`codes::NO_DEVICE`]: this build has no GPU support, or the machine has no such GPU.
pub fn open(choice: DeviceChoice) -> Result<Device, Diagnostic> {
    match choice {
        DeviceChoice::Cpu => Ok(Device::Cpu),
        DeviceChoice::Auto => Ok(cuda(0).unwrap_or(Device::Cpu)),
        DeviceChoice::Cuda(number) => cuda(number).map_err(|why| {
            let help = if cfg!(feature = "cuda") {
                "run `nvidia-smi` to see the GPUs and the driver, or use `--device cpu`"
            } else {
                "build with `cargo build --release --features cuda`, or use `--device cpu`"
            };
            Diagnostic::error(codes::NO_DEVICE, format!("`cuda:{number}` is not available: {why}")).help(help)
        }),
    }
}

#[cfg(not(feature = "cuda"))]
fn cuda(_number: usize) -> Result<Device, String> {
    Err("this build of taper has no GPU support".into())
}

/// cudarc panics where libcuda is missing, so the attempt is guarded; the hook is silenced meanwhile because
/// a missing driver is an ordinary finding and not a crash to print.
#[cfg(feature = "cuda")]
fn cuda(number: usize) -> Result<Device, String> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let opened = std::panic::catch_unwind(|| Device::new_cuda(number));
    std::panic::set_hook(hook);
    match opened {
        Ok(Ok(device)) => Ok(device),
        Ok(Err(error)) => Err(first_line(&error.to_string())),
        Err(_) => Err("the NVIDIA driver library (libcuda) is not installed".into()),
    }
}

#[cfg(feature = "cuda")]
fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or("unknown error").to_string()
}

/// Sets the number of worker threads of the process; 0 means one per core. To be called once, before any
/// other work.
///
/// # Errors
/// [`codes::BAD_FLAG`]: the threads run already, in another number.
pub fn set_threads(threads: usize) -> Result<(), Diagnostic> {
    match rayon::ThreadPoolBuilder::new().num_threads(threads).build_global() {
        Ok(()) => Ok(()),
        Err(_) if threads == 0 || rayon::current_num_threads() == threads => Ok(()),
        Err(error) => {
            Err(Diagnostic::error(codes::BAD_FLAG, format!("{threads} threads cannot be set: {error}"))
                .help("the number of threads is set once, before anything runs"))
        }
    }
}

/// Tells glibc to keep freed memory of up to 1 GiB instead of handing each large tensor back to the system and
/// taking it anew, zeroed page by page, for the next operation. To be called once, at the start of a program
/// that computes; does nothing on other systems.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // <malloc.h> of glibc.
        const M_TRIM_THRESHOLD: i32 = -1;
        const M_MMAP_THRESHOLD: i32 = -3;
        unsafe extern "C" {
            fn mallopt(parameter: i32, value: i32) -> i32;
        }
        // SAFETY: mallopt only sets parameters of the allocator and takes any integers; a value that it does
        // not like is refused with a return value, and then nothing has changed.
        unsafe {
            mallopt(M_MMAP_THRESHOLD, 1 << 30);
            mallopt(M_TRIM_THRESHOLD, i32::MAX);
        }
    }
}
