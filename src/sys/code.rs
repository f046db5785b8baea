//! The memory that the code of this program takes.

#![allow(unsafe_code)] // madvise, over the segments that the loader names

use std::ffi::c_void;

use nix::libc;

/// Gives back the pages of code and constants that were needed so far, and free pages of the heap. What is needed again comes
/// back by itself, from the cache of the file system: for work that takes long and needs little of what the start needed.
pub fn give_back() {
    /// Called with each object that is loaded; the first is the program itself, and no other is wanted.
    unsafe extern "C" fn each(info: *mut libc::dl_phdr_info, _: libc::size_t, _: *mut c_void) -> libc::c_int {
        // SAFETY: the loader hands over a description of an object that is loaded, with as many headers as it says.
        let (base, headers) = unsafe {
            let info = &*info;
            let headers = std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum));
            (info.dlpi_addr, headers)
        };
        for header in headers {
            if header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0 {
                forget(base + header.p_vaddr, header.p_memsz);
            }
        }
        1
    }
    // SAFETY: the function keeps nothing of what it is given.
    unsafe { libc::dl_iterate_phdr(Some(each), std::ptr::null_mut()) };
    #[cfg(target_env = "gnu")]
    // SAFETY: no memory that is in use is touched.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Only whole pages: the first and the last one may belong to something else too.
fn forget(start: u64, size: u64) {
    let page = 1 << 16;
    let (from, to) = (start.next_multiple_of(page), (start + size) / page * page);
    let (Ok(from), Ok(length)) = (usize::try_from(from), usize::try_from(to.saturating_sub(from))) else {
        return;
    };
    // SAFETY: a segment that nobody may write to is as it is in the file, and is read from there again. Only memory is at
    // stake, so that an error is none.
    let _ = unsafe { libc::madvise(from as *mut c_void, length, libc::MADV_DONTNEED) };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The resident pages of this program's own code, in KiB.
    fn resident() -> u64 {
        let own = std::env::current_exe().unwrap();
        let (maps, mut inside, mut sum) = (std::fs::read_to_string("/proc/self/smaps").unwrap(), false, 0);
        for line in maps.lines() {
            if line.contains('-') && line.contains("r-xp") {
                inside = line.ends_with(own.to_str().unwrap());
            } else if let (true, Some(rest)) = (inside, line.strip_prefix("Rss:")) {
                sum += rest.trim().trim_end_matches(" kB").parse::<u64>().unwrap();
                inside = false;
            }
        }
        sum
    }

    #[test]
    fn code_that_was_needed_is_given_back_and_comes_back_by_itself() {
        let page = |n: usize| std::hint::black_box(format!("{n:?} {:e}", n as f64));
        let (before, text) = (resident(), page(7));
        give_back();
        let after = resident();
        assert!(after * 2 < before, "{before} KiB, then {after} KiB");
        assert_eq!(page(7), text);
    }
}
