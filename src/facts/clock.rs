//! What time it is here.

use std::io::Read;

use jiff::Zoned;
use jiff::tz::TimeZone;

/// The zone of this machine, as rules of change.
const LOCALTIME: &str = "/etc/localtime";
/// No zone file is larger.
const LARGEST: u64 = 64 << 10;

/// The present moment in this machine's time zone: that of `TZ`, or of `/etc/localtime`. The file is read as it is: to
/// look for the zone's name among all zones that are installed costs more than a small run.
pub fn now() -> Zoned {
    let given = std::env::var_os("TZ").is_some_and(|zone| !zone.is_empty());
    match (given, local()) {
        (false, Some(zone)) => jiff::Timestamp::now().to_zoned(zone),
        _ => Zoned::now(),
    }
}

fn local() -> Option<TimeZone> {
    let mut rules = Vec::with_capacity(4096);
    let file = std::fs::File::open(LOCALTIME).ok()?;
    file.take(LARGEST).read_to_end(&mut rules).ok()?;
    TimeZone::tzif("Local", &rules).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_local_time_is_that_of_the_system_zone() {
        let (ours, theirs) = (now(), Zoned::now());
        assert_eq!(ours.offset(), theirs.offset());
        assert_eq!(ours.strftime("%Z").to_string(), theirs.strftime("%Z").to_string());
        assert!(ours.duration_until(&theirs).as_secs() < 10);
    }
}
