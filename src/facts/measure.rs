//! How the machine is right now, as cfenvd measured it, without a daemon: users, processes, free disk, load. No program is
//! started; `/proc` is walked once.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;

/// What is measured: its name in variables (`value_users`) and in classes (`Users_normal`), and the least deviation that
/// counts: below it a change is noise.
pub struct Measure {
    /// `users`
    pub name: &'static str,
    /// `Users`
    pub class: &'static str,
    /// In the unit of the measure.
    pub noise: f64,
}

/// Users with processes; processes of root and of others; per cent of `/` that are free; load of the last minute.
pub static MEASURES: [Measure; 5] = [
    Measure {
        name: "users",
        class: "Users",
        noise: 1.0,
    },
    Measure {
        name: "rootprocs",
        class: "RootProcs",
        noise: 5.0,
    },
    Measure {
        name: "otherprocs",
        class: "OtherProcs",
        noise: 5.0,
    },
    Measure {
        name: "diskfree",
        class: "DiskFree",
        noise: 1.0,
    },
    Measure {
        name: "loadavg",
        class: "LoadAvg",
        noise: 0.5,
    },
];

/// So many values make an average; before that everything is normal.
const LEARNING: u32 = 10;

/// The values of [`MEASURES`] now, in their order. What cannot be found out is 0.
pub fn measure() -> [f64; MEASURES.len()] {
    let mut users = HashSet::new();
    let (mut of_root, mut of_others) = (0_u32, 0_u32);
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let is_process = entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit);
        // A process may end while we look.
        let Some(uid) = is_process
            .then(|| entry.metadata().ok())
            .flatten()
            .map(|meta| meta.uid())
        else {
            continue;
        };
        users.insert(uid);
        match uid {
            0 => of_root += 1,
            _ => of_others += 1,
        }
    }
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().and_then(|load| load.parse().ok());
    let users = u32::try_from(users.len()).unwrap_or(u32::MAX);
    [
        f64::from(users),
        f64::from(of_root),
        f64::from(of_others),
        disk_free(),
        load.unwrap_or(0.0),
    ]
}

/// Per cent of `/` that its users may still fill.
fn disk_free() -> f64 {
    match nix::sys::statvfs::statvfs("/") {
        Ok(disk) if disk.blocks() > 0 => disk.blocks_available() as f64 * 100.0 / disk.blocks() as f64,
        _ => 0.0,
    }
}

impl Measure {
    /// The classes of a value, given how many values there were before, their average and standard deviation `s`: up to
    /// 1 `s` from the average it is `_normal`; beyond 1 `s` `_high_dev1` or `_low_dev1`, beyond 2 `s` also `_dev2`,
    /// beyond 3 `s` also `_anomaly`. `s` is taken as no less than the noise of the measure.
    pub fn classes(&self, value: f64, count: u32, average: f64, deviation: f64) -> Vec<String> {
        let distance = (value - average) / deviation.max(self.noise);
        if count < LEARNING || distance.abs() <= 1.0 {
            return vec![format!("{}_normal", self.class)];
        }
        let side = if distance > 0.0 { "high" } else { "low" };
        let steps = [(1.0, "dev1"), (2.0, "dev2"), (3.0, "anomaly")];
        let beyond = steps.into_iter().filter(|(least, _)| distance.abs() > *least);
        beyond
            .map(|(_, step)| format!("{}_{side}_{step}", self.class))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_judged_by_its_distance_from_the_average() {
        let load = &MEASURES[4];
        let classes = |value| load.classes(value, 50, 10.0, 2.0).join(" ");
        assert_eq!(classes(11.9), "LoadAvg_normal");
        assert_eq!(classes(12.1), "LoadAvg_high_dev1");
        assert_eq!(classes(14.1), "LoadAvg_high_dev1 LoadAvg_high_dev2");
        assert_eq!(classes(3.0), "LoadAvg_low_dev1 LoadAvg_low_dev2 LoadAvg_low_anomaly");
        assert_eq!(load.classes(99.0, 9, 10.0, 2.0), ["LoadAvg_normal"], "still learning");
        let users = &MEASURES[0];
        assert_eq!(users.classes(4.0, 50, 3.0, 0.0), ["Users_normal"], "one more is noise");
        assert_eq!(users.classes(5.0, 50, 3.0, 0.0), ["Users_high_dev1"]);
    }

    #[test]
    fn this_machine_has_users_processes_and_a_disk() {
        let [users, of_root, of_others, free, load] = measure();
        assert!(
            users >= 1.0 && of_root + of_others >= 1.0,
            "{users} {of_root} {of_others}"
        );
        assert!((0.0..=100.0).contains(&free) && load >= 0.0, "{free} {load}");
    }
}
