//! What the fuzz targets share: bounds on the time and the memory of one input.
//!
//! libFuzzer has bounds of its own (`-timeout`, `-rss_limit_mb`), for the process and by the clock. These are
//! for one input: bytes that are live at once, counted by the allocator, and time of the processor, which
//! does not depend on what else the machine is doing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The system's allocator, counting.
struct Meter;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);

fn grow(bytes: usize) {
    let live = LIVE.fetch_add(bytes, Ordering::Relaxed) + bytes;
    if live > LIMIT.load(Ordering::Relaxed) {
        // No panic in an allocator; libFuzzer catches the signal and keeps the input.
        const WHY: &[u8] = b"an input takes more memory than it may\n";
        unsafe { libc::write(2, WHY.as_ptr().cast(), WHY.len()) };
        std::process::abort();
    }
}

unsafe impl GlobalAlloc for Meter {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        grow(size);
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static METER: Meter = Meter;

/// Seconds of processor time that this process has used, in all its threads.
fn processor_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// Runs `f`, which may hold `bytes` at once and take `seconds` of the processor.
pub fn bounded<T>(bytes: usize, seconds: f64, f: impl FnOnce() -> T) -> T {
    LIMIT.store(LIVE.load(Ordering::Relaxed).saturating_add(bytes), Ordering::Relaxed);
    let start = processor_seconds();
    let result = f();
    let took = processor_seconds() - start;
    LIMIT.store(usize::MAX, Ordering::Relaxed);
    assert!(took < seconds, "an input takes {took:.2} s, and may take {seconds} s");
    result
}

/// Megabytes in bytes.
pub const fn mega(n: usize) -> usize {
    n << 20
}
